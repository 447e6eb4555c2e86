"""What a session answers, as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foretoken.cli.files import Floats

__all__ = ["Forecast", "Layout", "levels_of"]

Outputs = Mapping[str, NDArray[Any]]


def levels_of(options: Mapping[str, float | str]) -> tuple[float, ...]:
    """The levels of a forecaster's quantiles, as its options say them; none of another model."""
    return tuple(float(part) for part in str(options.get("quantiles", "")).split(",") if part)


@dataclass(frozen=True)
class Forecast:
    """What is told of forecasts beside one another, whatever levels were asked for.

    Args:
        low, median, high: of the levels, by index: the outer two and the one nearest to 0.5.
    """

    low: int
    median: int
    high: int

    @classmethod
    def of(cls, levels: Sequence[float]) -> Forecast:
        """Of these levels, rising."""
        return cls(0, int(np.argmin(np.abs(np.array(levels) - 0.5))), len(levels) - 1)


class Layout:
    """Names of a table's columns, and rows from what is answered.

    Args:
        columns: names of what is observed.
        outputs: of one message; others have the same shapes but for their first axis.
        levels: of the quantiles, if the model forecasts.
        whole: forecasts of all steps of the horizon, rather than of the next alone.
    """

    def __init__(
        self,
        columns: Sequence[str],
        outputs: Outputs,
        levels: Sequence[float],
        *,
        whole: bool,
    ) -> None:
        self._whole = whole
        self._forecasts = bool(levels) and "quantiles" in outputs
        self._levels = levels
        self.names = ["step", *columns]
        for name, array in sorted(outputs.items(), key=lambda each: each[1].ndim):
            self.names += self._named(name, array)

    def rows(self, step: int, values: Floats, outputs: Outputs) -> list[dict[str, Any]]:
        """A row for each observation.

        Args:
            step: after the first of them.
            values: what was observed, [T, D].
            outputs: each [T, ...].
        """
        T = len(values)
        parts: list[Any] = [np.arange(step, step + T)[:, None], values]
        for name, array in sorted(outputs.items(), key=lambda each: each[1].ndim):
            kept = array[:, :, :1] if self._is_forecast(name) and not self._whole else array
            parts.append(kept.reshape(T, -1))
        made = zip(*(column for part in parts for column in part.T.tolist()), strict=True)
        return [dict(zip(self.names, row, strict=True)) for row in made]

    def _is_forecast(self, name: str) -> bool:
        return self._forecasts and name == "quantiles"

    def _named(self, name: str, array: NDArray[Any]) -> list[str]:
        if self._is_forecast(name):
            steps = array.shape[2] if self._whole else 1
            ends = [""] if steps == 1 else [f"_{h}" for h in range(1, steps + 1)]
            return [f"q{level:g}{end}" for level in self._levels for end in ends]
        if array.ndim == 1:
            return [name]
        return [f"{name}_{i}" for i in range(int(np.prod(array.shape[1:])))]
