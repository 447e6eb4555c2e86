"""Runtimes by name, each imported when it is first asked for."""

from __future__ import annotations

from importlib import import_module

from foretoken.errors import InvalidInput
from foretoken.server.runtimes.base import Runtime

_CLASSES = {"onnx": "OnnxRuntime", "torch": "TorchRuntime"}
NAMES = tuple(_CLASSES)


def runtime(name: str) -> Runtime:
    """The runtime called ``name``, which is the name of its module here.

    Raises:
        InvalidInput: if there is none of that name.
    """
    if name not in _CLASSES:
        raise InvalidInput(f"no runtime {name!r}; there are {', '.join(NAMES)}")
    made: Runtime = getattr(import_module(f"{__name__}.{name}"), _CLASSES[name])()
    return made
