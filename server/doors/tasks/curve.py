"""Learning curves as tensors: one curve, or several of equal length on a leading axis.

Letters: B curves, N observed points, Q requested steps, K quantile levels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from foretoken.errors import InvalidInput
from foretoken.models.contract import Array
from foretoken.models.tasks import HORIZON, CurveRequest, following
from foretoken.posterior import Posterior
from foretoken.server.doors.tasks.base import (
    INTEGERS,
    REALS,
    Asked,
    Limits,
    Parameter,
    Tensor,
    expect_known,
    floats,
    number,
)

__all__ = ["CODEC", "CurveCodec"]

Floats = NDArray[np.float64]
LEVELS = np.array([0.05, 0.5, 0.95])
LEVELS.setflags(write=False)
ANY = REALS + INTEGERS
PARAMETERS = ("minimize", "bounds_low", "bounds_high", "soft_low", "soft_high")


class CurveCodec:
    """``values`` [N] or [B, N], and what may go with them, to ``CurveRequest``s."""

    inputs = (
        Tensor("values", REALS, (1, 2)),
        Tensor("steps", ANY, (1, 2), optional=True),
        Tensor("at", ANY, (1, 2), optional=True),
        Tensor("quantiles", REALS, (1,), optional=True),
    )
    outputs = (
        Tensor("mean", ("FP64",), (1, 2)),
        Tensor("quantiles", ("FP64",), (2, 3)),
        Tensor("steps", ("FP64",), (1, 2)),
    )

    def decode(
        self, tensors: Mapping[str, Array], parameters: Mapping[str, Parameter], limits: Limits
    ) -> Asked:
        """One request for each curve; ``steps`` and ``at`` of rank 1 are shared by all of them.

        A call's tokens are its observed and requested steps, B·(N + Q).
        """
        metric = _metric(parameters) if parameters else ()
        values = floats(tensors["values"])
        batched = values.ndim == 2
        shape = values.shape if batched else (1, values.shape[0])
        quantiles = floats(tensors["quantiles"]) if "quantiles" in tensors else LEVELS
        steps = _rows("steps", tensors.get("steps"), shape[0])
        at = _rows("at", tensors.get("at"), shape[0])
        ahead = max(HORIZON, 2 * shape[1]) - shape[1] if at is None else at.shape[-1]
        _expect_within(shape, ahead, quantiles.size, limits)
        steps = np.arange(1.0, shape[1] + 1) if steps is None else steps
        at = _following(steps) if at is None else at
        rows = values if batched else values[None]
        requests = [
            CurveRequest(
                row,
                steps if steps.ndim == 1 else steps[i],
                at if at.ndim == 1 else at[i],
                quantiles,
                *metric,
            )
            for i, row in enumerate(rows)
        ]
        return Asked(requests, batched)

    def encode(self, name: str, replies: Sequence[Posterior], asked: Asked) -> Array:
        """``mean`` and ``steps`` are [Q] or [B, Q], ``quantiles`` [K, Q] or [B, K, Q]."""
        if not asked.layout:
            array: Array = getattr(replies[0], name)
            return array
        return np.stack([getattr(reply, name) for reply in replies])

    def names(self, replies: Sequence[Posterior]) -> Sequence[str]:
        """All of ``outputs``."""
        return tuple(tensor.name for tensor in self.outputs)

    def work(self, asked: Asked) -> int:
        """Means and quantiles are read off the bars of every requested step."""
        return sum(100 + 6 * len(request.at) for request in asked.requests)


def _following(steps: Floats) -> Floats:
    """What is predicted where nothing else is asked for: as much of each curve as is usual."""
    if 0 in steps.shape:
        raise InvalidInput("tensor 'values' holds no values; a curve has at least one")
    return following(steps) if steps.ndim == 1 else np.stack([following(row) for row in steps])


def _rows(name: str, array: Array | None, curves: int) -> Floats | None:
    """``array`` if it fits the number of curves: shared by all, or a row for each."""
    if array is None:
        return None
    if array.ndim == 2 and len(array) != curves:
        raise InvalidInput(
            f"tensor {name!r} has {len(array)} rows for {curves} curves; give one row for each, or "
            "a single axis that all of them share"
        )
    return floats(array)


def _expect_within(shape: tuple[int, ...], asked: int, levels: int, limits: Limits) -> None:
    """Refuse what is too much before anything of its size is made."""
    curves, seen = shape
    if curves == 0:
        raise InvalidInput("tensor 'values' holds no curve; its leading axis must be at least 1")
    tokens = curves * (seen + asked)
    if tokens > limits.tokens:
        raise InvalidInput(
            f"{curves} curves of {seen} observed and {asked} requested steps are {tokens} steps; "
            f"a call may have {limits.tokens}: send fewer curves at once"
        )
    if 8 * curves * asked * (levels + 2) > limits.reply_bytes:
        raise InvalidInput(
            f"{levels} quantiles at {asked} steps of {curves} curves do not fit a reply of "
            f"{limits.reply_bytes} bytes: ask for fewer at once"
        )


def _metric(
    parameters: Mapping[str, Parameter],
) -> tuple[bool, tuple[float, float], tuple[float, float] | None]:
    """Direction, bounds and soft bounds."""
    expect_known(parameters, PARAMETERS)
    minimize = parameters.get("minimize", False)
    if not isinstance(minimize, bool):
        raise InvalidInput(f"parameter 'minimize' must be a bool, not {minimize!r}")
    low, high = number(parameters, "bounds_low"), number(parameters, "bounds_high")
    soft_low, soft_high = number(parameters, "soft_low"), number(parameters, "soft_high")
    bounds = (0.0 if low is None else low, 1.0 if high is None else high)
    if soft_low is None and soft_high is None:
        return minimize, bounds, None
    if soft_low is None or soft_high is None:
        raise InvalidInput(
            "parameters 'soft_low' and 'soft_high' go together; give both or neither"
        )
    return minimize, bounds, (soft_low, soft_high)


CODEC = CurveCodec()
