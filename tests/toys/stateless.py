"""Stateless: embeds a text by attention pooling over its bytes.

Letters: B texts, T bytes (padded), W width, V byte values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from foretoken.errors import InvalidInput
from foretoken.models.contract import Arrays, Call, Config, Graph, Kind, Predictor, Steps, Tensor
from foretoken.models.tasks import Task, TextReply, TextRequest

V = 256


class Predict:
    """One call per text, so that texts of all lengths are the batcher's to sort.

    Vectors may be cut to their first half; what is left has the length 1 again.
    """

    def __init__(self, width: int, limit: int) -> None:
        self.width, self.limit = width, limit

    def predict(self, request: TextRequest, state: None = None) -> Steps:
        D = request.dimensions or self.width
        if D not in (self.width, self.width // 2):
            raise InvalidInput(f"dimensions are {self.width} or {self.width // 2}, not {D}")
        prompted = [(request.prompt or "") + text for text in request.texts]
        all_bytes = [np.frombuffer(text.encode(), np.uint8) for text in prompted]
        if request.truncate == "error" and max(map(len, all_bytes)) > self.limit:
            raise InvalidInput(f"a text has more than {self.limit} bytes")
        used = [b[: self.limit].astype(np.int64) for b in all_bytes]
        made = yield [
            Call("forward", {"tokens": b[None], "length": np.array([len(b)])}) for b in used
        ]
        vectors = np.concatenate([m["vector"] for m in made])[:, :D]
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        cut = np.array([len(b) - len(u) for b, u in zip(all_bytes, used, strict=True)])
        return TextReply(vectors, np.array([len(u) for u in used]), cut)


class Stateless:
    name = "stateless"
    task = Task.TEXT
    kind = Kind.STATELESS
    summary = "Embeds a text by attention pooling over its bytes"
    source = "Bahdanau et al. 2014, Neural Machine Translation by Jointly Learning to Align"
    small: Mapping[str, Any] = {"width": 16, "limit": 32}
    recipe = None
    importers: Mapping[str, Any] = {}

    def graphs(self, config: Config) -> tuple[Graph, ...]:
        tokens, length = Tensor("tokens", "int64", ("B", "T")), Tensor("length", "int64", ("B",))
        vector = Tensor("vector", "float32", ("B", config["width"]))
        return (Graph("forward", (tokens, length), (vector,)),)

    def module(self, config: Config) -> Any:
        from tests.toys.modules import Pool

        return Pool(V, config["width"])

    def predictor(self, config: Config, weights: Arrays) -> Predictor:
        return Predict(config["width"], config["limit"])

    def examples(self, config: Config, graph: str) -> Iterator[Arrays]:
        rng = np.random.default_rng(0)
        for rows, longest in ((1, 1), (1, 32), (2, 7), (5, 3), (3, 31)):
            length = rng.integers(0, longest + 1, rows)  # none at all is a length, too
            length[0] = longest
            yield {"tokens": rng.integers(0, V, (rows, longest)), "length": length}
        yield {"tokens": np.zeros((2, 4), np.int64), "length": np.array([0, 0])}


FAMILY = Stateless()
