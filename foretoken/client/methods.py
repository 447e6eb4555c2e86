"""The methods of the server that the client calls, and which of them may be tried again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from foretoken.errors import InternalError
from foretoken.proto.loading import service

__all__ = ["METHODS", "Method", "method"]

# By definition and service; True may be tried again: it changes nothing.
_SAFE = {
    ("foretoken/v1/curves.proto", "Curves"): {"Extrapolate": True, "Watch": False},
    # A graph is named by its content, too.
    ("foretoken/v1/embeddings.proto", "Embeddings"): {
        "Embed": True,
        "EmbedGraph": True,
        "EmbedStream": False,
    },
    # What is drawn without a seed is drawn anew, which nobody has seen before.
    ("foretoken/v1/generation.proto", "Generation"): {
        "Generate": True,
        "Score": True,
        "Tokenize": True,
        "Search": False,
    },
    ("foretoken/v1/registry.proto", "Registry"): {
        "List": True,
        "Versions": True,
        "Show": True,
        "Aliases": True,
        "History": True,
        "GetOptions": True,
        "Verify": True,
        "Register": False,
        "SetAlias": False,
        "DeleteAlias": False,
        "Rollback": False,
        "SetOptions": False,
        "Delete": False,
        "Load": False,
        "Unload": False,
    },
    # Restoring keeps what is named by its content.
    ("foretoken/v1/sequences.proto", "Sequences"): {
        "Restore": True,
        "Describe": True,
        "Snapshots": True,
        "Stream": False,
        "Delete": False,
    },
    # A context is named by its content, so fitting it again changes nothing.
    ("foretoken/v1/tabular.proto", "Tabular"): {
        "Fit": True,
        "Predict": True,
        "Describe": True,
        "Contexts": True,
        "PredictStream": False,
        "Delete": False,
    },
    ("grpc/health.proto", "Health"): {"Check": True},
}


@dataclass(frozen=True)
class Method:
    """A method of a service.

    Args:
        service: full name.
        name: of the method.
        parse: bytes to a message of its reply.
        safe: whether a call may be sent again after it failed.
    """

    service: str
    name: str
    parse: Callable[[bytes], Any]
    safe: bool

    def read(self, data: bytes) -> Any:
        """The reply's message.

        Raises:
            InternalError: if ``data`` is none.
        """
        try:
            return self.parse(data)
        except DecodeError as e:
            raise InternalError(f"the reply to {self.name} is malformed: {e}", id="") from e

    @property
    def path(self) -> str:
        """As gRPC addresses it."""
        return f"/{self.service}/{self.name}"


def _methods() -> dict[str, Method]:
    found = {}
    for (path, name), methods in _SAFE.items():
        described = service(path, name)
        for called, safe in methods.items():
            reply = GetMessageClass(described.methods_by_name[called].output_type)
            made = Method(described.full_name, called, reply.FromString, safe)
            found[f"{name}.{called}"] = made
    return found


METHODS = _methods()


def method(name: str) -> Method:
    """A method by ``Service.Method``."""
    return METHODS[name]
