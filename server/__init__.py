"""The server: plane, engine, runtimes and registry; the doors translate for it."""
