"""LC-PFN: learning curves extrapolated in one forward pass (Adriaensen et al. 2023)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foretoken.models.contract import Arrays, Config, Graph, Kind, Predictor, Tensor
from foretoken.models.tasks import Task

if TYPE_CHECKING:
    from torch import nn


class _LCPFN:
    name = "lcpfn"
    task = Task.CURVE
    kind = Kind.STATELESS  # a curve is at most a hundred points: it travels with every request
    summary = "Extrapolates learning curves, with uncertainty, in one forward pass"
    source = "Adriaensen et al. 2023, Efficient Bayesian Learning Curve Extrapolation using PFNs"

    def graphs(self, config: Config) -> tuple[Graph, ...]:
        return (
            Graph(
                name="forward",
                inputs=(
                    Tensor("steps", "float32", ("B", "N")),
                    Tensor("values", "float32", ("B", "N")),
                    Tensor("n", "int64", ("B",)),
                    Tensor("at", "float32", ("B", "Q"), pad=1.0),
                ),
                outputs=(Tensor("logits", "float32", ("B", "Q", config["bars"])),),
            ),
        )

    def module(self, config: Config) -> nn.Module:
        from foretoken.models.lcpfn.model import LCPFN, LCPFNConfig  # noqa: PLC0415

        return LCPFN(LCPFNConfig(**config))

    def predictor(self, config: Config, weights: Arrays) -> Predictor:
        from foretoken.models.lcpfn.predict import CurvePredictor  # noqa: PLC0415

        del config
        return CurvePredictor(weights["borders"])
