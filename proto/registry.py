"""Messages of ``foretoken/v1/registry.proto``, made by ``proto/generate.py``; the stub types them."""

from foretoken.proto.loading import module

globals().update(module("foretoken/v1/registry.proto"))
