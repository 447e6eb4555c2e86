"""Messages of ``inference/model_config.proto``, made by ``proto/generate.py``; the stub types them."""

from foretoken.proto.loading import module

globals().update(module("inference/model_config.proto"))
