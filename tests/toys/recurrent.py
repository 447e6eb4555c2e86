"""Recurrent: attention as an RNN, a state of fixed size along a stream (Feng et al. 2024, Aaren).

Letters: B streams, T observations (padded), D of each, H heads, W width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from foretoken.errors import InvalidInput
from foretoken.models.contract import Arrays, Call, Config, Graph, Kind, Predictor, Steps, Tensor
from foretoken.models.tasks import SequenceReply, SequenceRequest, Task

NOTHING = -1e30  # the largest score of no observation; -inf would give NaN as -inf - -inf


class Predict:
    version = 1

    def __init__(self, heads: int, width: int) -> None:
        self.heads, self.width = heads, width

    def start(self) -> Arrays:
        H, W = self.heads, self.width
        return {
            "m": np.full((1, H), NOTHING, np.float32),
            "u": np.zeros((1, H), np.float32),
            "w": np.zeros((1, H, W), np.float32),
        }

    def options(self, given: Mapping[str, float | str]) -> Mapping[str, float | str]:
        if unknown := sorted(set(given) - {"scale"}):
            raise InvalidInput(f"no such options: {', '.join(unknown)}; there is scale")
        return {"scale": 1.0, **given}

    def predict(self, request: SequenceRequest, state: Any = None) -> Steps:
        if not np.isfinite(request.values).all():
            raise InvalidInput("observations are finite")
        kept = dict(self.start()) if state is None else state
        scale = np.float32(request.options.get("scale", 1.0))
        x = request.values.astype(np.float32)[None]
        if x.shape[1] == 1:
            (made,) = yield [Call("step", {"x": x[:, 0]}, kept)]
            return SequenceReply({"y": scale * made["y"]})
        (made,) = yield [Call("scan", {"x": x, "length": np.array([x.shape[1]])}, kept)]
        return SequenceReply({"y": scale * made["y"][0]})


class Recurrent:
    name = "recurrent"
    task = Task.SEQUENCE
    kind = Kind.RECURRENT
    summary = "Attention as an RNN"
    source = "Feng et al. 2024, Attention as an RNN"
    small: Mapping[str, Any] = {"inputs": 2, "heads": 2, "width": 8}
    recipe = None
    importers: Mapping[str, Any] = {}

    def graphs(self, config: Config) -> tuple[Graph, ...]:
        D, H, W = config["inputs"], config["heads"], config["width"]
        state = (
            Tensor("m", "float32", ("B", H)),
            Tensor("u", "float32", ("B", H)),
            Tensor("w", "float32", ("B", H, W)),
        )
        one, many = Tensor("x", "float32", ("B", D)), Tensor("x", "float32", ("B", "T", D))
        length = Tensor("length", "int64", ("B",))
        y, ys = Tensor("y", "float32", ("B", H * W)), Tensor("y", "float32", ("B", "T", H * W))
        return (
            Graph("step", (one,), (y,), state, state),
            Graph("scan", (many, length), (ys,), state, state),
        )

    def module(self, config: Config) -> Any:
        from tests.toys.modules import Aaren

        return Aaren(config["inputs"], config["heads"], config["width"])

    def predictor(self, config: Config, weights: Arrays) -> Predictor:
        return Predict(config["heads"], config["width"])

    def examples(self, config: Config, graph: str) -> Iterator[Arrays]:
        rng = np.random.default_rng(0)
        D, H, W = config["inputs"], config["heads"], config["width"]
        for B, T, scale in (
            (1, 1, 1),
            (2, 7, 1),
            (3, 64, 0),
            (4, 33, 200),
            (5, 2, 1),
            (2, 3, -200),
        ):
            fresh = B % 2 == 0
            x = scale * rng.standard_normal((B, T, D)).astype(np.float32)
            state = {
                "m": np.full((B, H), NOTHING if fresh else scale, np.float32),
                "u": np.full((B, H), 0 if fresh else 3, np.float32),
                "w": rng.standard_normal((B, H, W)).astype(np.float32) * (not fresh),
            }
            length = rng.integers(1, T + 1, B)
            inputs = {"x": x[:, 0]} if graph == "step" else {"x": x, "length": length}
            yield {**inputs, **state}


FAMILY = Recurrent()
