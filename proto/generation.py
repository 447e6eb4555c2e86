"""``foretoken/v1/generation.proto``: made by ``proto/generate.py``, typed by the stub."""

from foretoken.proto.loading import module

globals().update(module("foretoken/v1/generation.proto"))
