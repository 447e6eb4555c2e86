"""Wire definitions, and the message classes made from them.

The ``.proto`` files are the source; ``python proto/generate.py`` compiles each package to a
descriptor set, and each file to typed stubs. Classes come from the descriptor sets when a module
is imported, so that any protobuf runtime from 6.30 on will do.
"""
