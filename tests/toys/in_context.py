"""In-context: classifies rows by attention over labelled rows, whose keys and values are kept.

An ensemble of two sees the features in two orders, so a context holds two states.

Letters: B members, N labelled rows (padded), M rows to classify, F features, W width, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from foretoken.errors import InvalidInput
from foretoken.models.contract import (
    Array,
    Arrays,
    Call,
    Config,
    Context,
    Graph,
    Kind,
    Predictor,
    Steps,
    Tensor,
)
from foretoken.models.tasks import TabularReply, TabularRequest, Task

MEMBERS = 2


class Predict:
    version = 1
    keeps: tuple[Tensor, ...] = ()

    def __init__(self, features: int, width: int) -> None:
        self.features, self.width = features, width

    def fit(self, request: TabularRequest) -> Steps:
        classes, labelled = self._labelled(request)
        written = yield [Call("encode_context", each) for each in labelled]
        return Context({"classes": classes}, tuple(dict(state) for state in written))

    def predict(self, request: TabularRequest, state: Context | None = None) -> Steps:
        rows = self._members(self._matrix(request.test))
        if state is None:
            classes, labelled = self._labelled(request)
            made = yield [
                Call("forward", {**known, "x": x}) for known, x in zip(labelled, rows, strict=True)
            ]
        else:
            classes = state.arrays["classes"]
            made = yield [
                Call("query", {"x": x}, kept) for x, kept in zip(rows, state.states, strict=True)
            ]
        logits = np.mean([m["logits"][0] for m in made], axis=0)[:, : len(classes)]
        likely = np.exp(logits - logits.max(axis=1, keepdims=True))
        return TabularReply(
            likely / likely.sum(axis=1, keepdims=True), classes, np.zeros(len(likely))
        )

    def options(self, given: Mapping[str, float | str]) -> Mapping[str, float | str]:
        return {"temperature": 1.0, **given}

    def lengths(self, request: TabularRequest) -> dict[str, int]:
        return {"B": MEMBERS, "N": len(next(iter(request.train.values())))}

    def notes(self, context: Context) -> tuple[str, ...]:
        return ()

    def _labelled(self, request: TabularRequest) -> tuple[Array, list[Arrays]]:
        if request.target is None:
            raise InvalidInput("rows to learn from need a target")
        classes, labels = np.unique(request.target, return_inverse=True)
        known, n = self._members(self._matrix(request.train)), np.array([len(labels)])
        return classes, [{"known": x, "labels": labels[None], "n": n} for x in known]

    def _members(self, matrix: Array) -> list[Array]:
        return [np.roll(matrix, i, axis=1)[None] for i in range(MEMBERS)]

    def _matrix(self, columns: Arrays) -> Array:
        if len(columns) > self.features:
            raise InvalidInput(f"{len(columns)} columns; this model reads {self.features}")
        made = np.stack([np.asarray(c, np.float32) for c in columns.values()], axis=1)
        return np.pad(made, ((0, 0), (0, self.features - len(columns))))


class InContext:
    name = "in_context"
    task = Task.TABULAR
    kind = Kind.IN_CONTEXT
    summary = "Classifies rows by attention over labelled rows"
    source = "Hollmann et al. 2022, TabPFN"
    small: Mapping[str, Any] = {"features": 4, "width": 16, "classes": 3}
    recipe = None
    importers: Mapping[str, Any] = {}

    def graphs(self, config: Config) -> tuple[Graph, ...]:
        F, W, C = config["features"], config["width"], config["classes"]
        known, x = Tensor("known", "float32", ("B", "N", F)), Tensor("x", "float32", ("B", "M", F))
        labels, n = Tensor("labels", "int64", ("B", "N")), Tensor("n", "int64", ("B",))
        state = (
            Tensor("keys", "float32", ("B", "N", W)),
            Tensor("values", "float32", ("B", "N", W)),
            # -1e30 shuts out the rows that batching adds.
            Tensor("shut", "float32", ("B", "N"), pad=-1e30),
        )
        logits = Tensor("logits", "float32", ("B", "M", C))
        return (
            Graph("forward", (known, labels, n, x), (logits,)),
            Graph("encode_context", (known, labels, n), (), writes=state),
            Graph("query", (x,), (logits,), reads=state),
        )

    def module(self, config: Config) -> Any:
        from tests.toys.modules import Classify

        return Classify(config["features"], config["width"], config["classes"])

    def predictor(self, config: Config, weights: Arrays) -> Predictor:
        return Predict(config["features"], config["width"])

    def examples(self, config: Config, graph: str) -> Iterator[Arrays]:
        rng = np.random.default_rng(0)
        tensors = {g.name: (*g.inputs, *g.reads) for g in self.graphs(config)}[graph]
        for B, N, M, scale in (
            (1, 1, 1, 1),
            (2, 5, 3, 1),
            (1, 64, 9, 1),
            (3, 2, 30, 0),
            (2, 9, 4, 200),
        ):
            n = rng.integers(0, N + 1, B)  # without a row to learn from, too
            lengths = {"B": B, "N": N, "M": M}
            made = {}
            for t in tensors:
                shape = [lengths[d] if isinstance(d, str) else d for d in t.dims]
                made[t.name] = (scale * rng.standard_normal(shape)).astype(t.dtype)
            made["labels"] = rng.integers(0, config["classes"], (B, N))
            made["n"] = n
            made["shut"] = np.where(np.arange(N) < n[:, None], 0, -1e30).astype(np.float32)
            yield {t.name: made[t.name] for t in tensors}


FAMILY = InContext()
