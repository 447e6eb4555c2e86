"""Pipelines: how a table's numbers become what the network reads, and its logits probabilities.

A pipeline is fitted on the rows to learn from alone and says what it learned in arrays, so that
test rows need nothing else, and never each other.

Letters: N training rows, M test rows, F columns, E members of the ensemble, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from foretoken.errors import InvalidInput
from foretoken.models.contract import Array, Arrays
from foretoken.models.tabpfn.columns import Floats, Table

__all__ = ["MOST_MEMBERS", "Options", "Pipeline", "pipeline"]

MOST_MEMBERS = 32
_COMMON, _OWN = ("members", "seed", "temperature", "limit"), ("transform",)
_CHOICES = {"limit": ("refuse", "subsample"), "transform": ("mix", "none")}
_RANGES: Mapping[str, tuple[float, float, bool]] = MappingProxyType(  # least, most, whole
    {
        "members": (1, MOST_MEMBERS, True),
        "seed": (0, (1 << 32) - 1, True),
        "temperature": (1e-3, 1e3, False),
    }
)


@dataclass(frozen=True)
class Options:
    """What the caller may choose of an ensemble.

    Args:
        members: of the ensemble, 1 to ``MOST_MEMBERS``; a pipeline may have fewer to offer.
        seed: of whatever is drawn, 0 to 2^32 - 1.
        temperature: logits are divided by it.
        limit: what to do with more rows or columns than the model takes: "refuse", or "subsample",
            which shows each member rows and columns of its own.
        transform: of "v1" alone: "mix" has every other member see columns after a power transform,
            "none" has none.
        first: index of the first member, where members learn from tables of their own.
    """

    members: int = 4
    seed: int = 0
    temperature: float = 1.0
    limit: str = "refuse"
    transform: str = ""
    first: int = 0

    @classmethod
    def parse(
        cls, given: Mapping[str, float | str], defaults: Mapping[str, float | str]
    ) -> Options:
        """The options of a request.

        Args:
            given: by the caller.
            defaults: of the pipeline, where they differ; an option of its own stands here only.

        Raises:
            InvalidInput: for an unknown name or an unacceptable value.
        """
        known = _known(defaults)
        if unknown := sorted(set(given) - set(known)):
            raise InvalidInput(f"unknown options {unknown}; known are {', '.join(known)}")
        for name, value in given.items():
            if name in _CHOICES and value not in _CHOICES[name]:
                accepted = " or ".join(map(repr, _CHOICES[name]))
                raise InvalidInput(f"option {name}={value!r}: accepted is {accepted}")
            if name not in _CHOICES:
                _expect_number(name, value)
        chosen: dict[str, Any] = {**defaults, **given}
        for name in {"members", "seed"} & chosen.keys():
            chosen[name] = int(chosen[name])
        return cls(**chosen)

    def said(self, defaults: Mapping[str, float | str]) -> dict[str, float | str]:
        """What ``parse`` makes these options of: each that a caller may choose, in full."""
        return {name: getattr(self, name) for name in _known(defaults)}


def _known(defaults: Mapping[str, float | str]) -> list[str]:
    """Names of the options that a pipeline has."""
    return [*_COMMON, *(name for name in _OWN if defaults.get(name))]


def _expect_number(name: str, value: float | str) -> None:
    low, high, whole = _RANGES[name]
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(
        value, bool
    )
    if not number or not low <= value <= high or (whole and value != int(value)):  # type: ignore[operator]
        what = "a whole number" if whole else "a number"
        raise InvalidInput(f"option {name}={value!r}: accepted is {what} from {low} to {high}")


class Pipeline(Protocol):
    """All of it NumPy; ``fit`` may take long, ``rows`` is what every request waits for."""

    version: int  # of what it computes; another one makes other contexts
    extra: int  # features that it adds to the columns
    looks: int  # at each row, beside those at its columns and at training rows
    features: int | None  # of the networks that it is for; None for any
    every_column: bool  # wants constant and repeated columns too
    defaults: Mapping[str, float | str]  # of options, see ``Options.parse``

    def members(self, columns: int, classes: int, options: Options) -> int:
        """E, for so many columns of the caller's."""

    def fit(self, table: Table, labels: Array, classes: int, options: Options) -> dict[str, Array]:
        """What has been learned from ``table`` [N, F] and ``labels`` int64 [N], in arrays."""

    def training_rows(self, arrays: Arrays, matrix: Floats, labels: Array) -> NDArray[np.float32]:
        """What each member reads of the rows that were fitted: [E, N, features]."""

    def rows(self, arrays: Arrays, matrix: Floats) -> NDArray[np.float32]:
        """What each member reads of test rows: [E, M, features]."""

    def labels(self, arrays: Arrays, labels: Array) -> NDArray[np.int64]:
        """What each member is told that the classes of the training rows are: [E, N]."""

    def probabilities(self, arrays: Arrays, logits: Array) -> tuple[Floats, Floats]:
        """Logits [E, M, at least C] to probabilities [M, C], and those of each member [E, M, C]."""


def pipeline(name: str) -> Pipeline:
    """The pipeline that a configuration names.

    Raises:
        InvalidInput: if there is none of that name.
    """
    if name == "v1":
        from foretoken.models.tabpfn.v1 import V1Pipeline  # noqa: PLC0415

        return V1Pipeline()
    if name == "ordered":
        from foretoken.models.tabpfn.ordered import OrderedPipeline  # noqa: PLC0415

        return OrderedPipeline()
    raise InvalidInput(f"no pipeline {name!r}; there are 'ordered' and 'v1'")
