"""Graphs, as contexts know them. Letters: E edges."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from safetensors.numpy import save

from foretoken.errors import InvalidInput
from foretoken.models import edges
from foretoken.models.contract import Array, Arrays
from foretoken.models.tasks import GraphRequest
from foretoken.records import ContextRecord
from foretoken.server.contexts.identity import Fitter, digest
from foretoken.server.contexts.limits import expect_graph
from foretoken.server.settings import Settings

__all__ = ["GraphForm"]

FORM = 1  # of the bytes that are hashed and stored; another form makes other ids
EDGES = 1 << 14  # that are sorted and hashed on the event loop; more take a thread


class GraphForm:
    """See ``forms.Form``."""

    name = "graph"

    def expect_training(self, request: GraphRequest, settings: Settings) -> None:
        if request.context is not None:
            raise InvalidInput("a context stands for a graph already; to fit, give its edges")
        if request.sources is None:
            raise InvalidInput("to fit needs a graph: sources and targets of its edges")
        if request.nodes is not None:
            raise InvalidInput("to fit takes no nodes to look up; look them up by the context")
        expect_graph(len(request.sources), edges.count_of(request), settings)

    def brings(self, request: GraphRequest) -> bool:
        return request.sources is not None

    def large(self, request: GraphRequest) -> bool:
        return request.sources is not None and len(request.sources) > EDGES

    def canonical(self, request: GraphRequest) -> GraphRequest:
        return edges.canonical(request) if self.brings(request) else request

    def asked(self, request: GraphRequest, record: ContextRecord) -> GraphRequest:
        del record  # how many nodes there are is told by the vectors
        return request

    def context_id(self, key: bytes, fitter: Fitter, request: GraphRequest) -> str:
        head = {"task": self.name, "fitter": asdict(fitter), **_about(request)}
        return digest(key, head, (a.view(np.uint8).data for a in _arrays(request).values()))

    def nbytes(self, request: GraphRequest) -> int:
        return sum(array.nbytes for array in _arrays(request).values())

    def told(self, request: GraphRequest) -> dict[str, Any]:
        return {
            "rows": len(_arrays(request)["sources"]),
            "columns": tuple(name.removesuffix("s") for name in _arrays(request)),
            "classes": (),
        }

    def to_bytes(self, context: str, request: GraphRequest) -> bytes:
        about = {"task": self.name, "context": context, **_about(request)}
        text = np.frombuffer(json.dumps(about).encode(), np.uint8)
        return save({**_arrays(request), "about": text})

    def read(self, about: Mapping[str, Any], tensors: Arrays) -> GraphRequest:
        return GraphRequest(
            tensors["sources"],
            tensors["targets"],
            tensors.get("weights"),
            count=about["count"],
            directed=about["directed"],
            self_loops="keep",
            duplicates="sum",
            options=about["options"],
        )


def _about(request: GraphRequest) -> dict[str, Any]:
    options = sorted(request.options.items())
    return {
        "form": FORM,
        "count": request.count,
        "directed": request.directed,
        "weighted": request.weights is not None,
        "options": {name: v if isinstance(v, str) else float(v) for name, v in options},
    }


def _arrays(request: GraphRequest) -> dict[str, Array]:
    assert request.sources is not None
    assert request.targets is not None
    made = {"sources": request.sources, "targets": request.targets}
    if request.weights is not None:
        made["weights"] = request.weights
    return made
