"""Compares two ways of running a graph over a family's examples; runs no runtime itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from foretoken.errors import Unsupported
from foretoken.models.contract import Array, Arrays, Graph, Tensor

__all__ = ["Difference", "Figures", "compare", "expect_parity"]

Run = Callable[[Arrays], Arrays]
_TINY = float(np.finfo(np.float32).tiny)  # keeps ratios to zero finite, as JSON needs them


@dataclass(frozen=True)
class Difference:
    """How far one array, or the arrays of one example, lie from what they should be.

    Args:
        largest: |got - wanted|, infinite where shapes, dtypes or the places of NaN and
            infinities differ.
        relative: ``largest`` over the largest |wanted|.
        rms: root mean square of the difference over that of what is wanted.
        cosine: the least between rows, axis 0, of what is got and wanted.
    """

    largest: float
    relative: float
    rms: float
    cosine: float = 1.0

    @property
    def scaled(self) -> float:
        """``largest``, or ``relative`` where values exceed 1: float32 has digits, not places."""
        return min(self.largest, self.relative)


@dataclass(frozen=True)
class Figures:
    """What ``compare`` measured on a graph.

    Args:
        graph: its name.
        examples: shapes of the inputs, and the difference, per example.
    """

    graph: str
    examples: Sequence[tuple[dict[str, list[int]], Difference]]

    def worst(self) -> Difference:
        """The worst of each figure over all examples."""
        return _worst([difference for _, difference in self.examples])

    def said(self) -> dict[str, Any]:
        """The figures as JSON can say them."""
        rows = [{"shapes": shapes, **asdict(d)} for shapes, d in self.examples]
        return {**asdict(self.worst()), "examples": rows}


def compare(graph: Graph, wanted: Run, got: Run, examples: Iterable[Arrays]) -> Figures:
    """Run both on every example and measure how far apart their outputs and writes are.

    Raises:
        Unsupported: if there is no example to compare on.
    """
    rows = []
    for inputs in examples:
        shapes = {name: list(array.shape) for name, array in inputs.items()}
        tensors = (*graph.outputs, *graph.writes)
        rows.append((shapes, _difference(tensors, wanted(inputs), got(inputs))))
    if not rows:
        raise Unsupported(f"graph {graph.name!r} offers no examples, so nothing can be compared")
    return Figures(graph.name, rows)


def expect_parity(graph: Graph, figures: Figures) -> None:
    """Refuse what differs by more than the graph's tolerance.

    Raises:
        Unsupported: naming the figures of the worst example.
    """
    missed = [(s, d) for s, d in figures.examples if not d.scaled <= graph.tolerance]
    if not missed:
        return
    shapes, worst = max(missed, key=lambda row: row[1].scaled)
    raise Unsupported(
        f"the exported graph {graph.name!r} is refused: on {len(missed)} of "
        f"{len(figures.examples)} examples it differs from the module by more than "
        f"{graph.tolerance:g}, at most by {worst.largest:g} (relative {worst.relative:g}) "
        f"for inputs of shapes {shapes}"
    )


def _difference(tensors: Sequence[Tensor], wanted: Arrays, got: Arrays) -> Difference:
    return _worst([_of_arrays(wanted[t.name], got[t.name]) for t in tensors])


def _worst(found: Sequence[Difference]) -> Difference:
    return Difference(
        largest=max(d.largest for d in found),
        relative=max(d.relative for d in found),
        rms=max(d.rms for d in found),
        cosine=min(d.cosine for d in found),
    )


def _of_arrays(wanted: Array, got: Array) -> Difference:
    alike = wanted.shape == got.shape and wanted.dtype == got.dtype
    if alike and wanted.size == 0:
        return Difference(0.0, 0.0, 0.0)
    a, b = wanted.astype(np.float64), got.astype(np.float64)
    finite = np.isfinite(a)
    if not alike or not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return Difference(math.inf, math.inf, math.inf, 0.0)
    if not np.isfinite(b[finite]).all():
        return Difference(math.inf, math.inf, math.inf, 0.0)
    apart, scale = np.abs(b[finite] - a[finite]), np.abs(a[finite])
    if not apart.size or not apart.any():
        return Difference(0.0, 0.0, 0.0)
    return Difference(
        largest=float(apart.max()),
        relative=float(apart.max() / max(scale.max(), _TINY)),
        rms=float(np.sqrt((apart**2).mean()) / max(np.sqrt((scale**2).mean()), _TINY)),
        cosine=_cosine(np.where(finite, a, 0.0), np.where(finite, b, 0.0)),
    )


def _cosine(a: Array, b: Array) -> float:
    """The least between rows; of two that are zero it is 1."""
    a, b = (x.reshape(len(x), -1) for x in (a, b))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    alike = (a == b).all(axis=1)
    cosines = (a * b).sum(axis=1) / np.maximum(norms, np.finfo(np.float64).tiny)
    return float(np.where(alike, 1.0, cosines).min())
