"""Messages of ``inference/grpc_service.proto``, made by ``proto/generate.py``; the stub types them."""

from foretoken.proto.loading import module

globals().update(module("inference/grpc_service.proto"))
