"""Tables: rows to classify by rows that are labelled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from foretoken.errors import InvalidInput
from foretoken.models.contract import Array

__all__ = ["TabularReply", "TabularRequest"]


@dataclass(frozen=True)
class TabularRequest:
    """Rows to classify, and the labelled rows to classify them by; to fit, the latter alone.

    A column is float, int or bool [rows], or str [rows] (dtype ``str`` or ``object``, where None
    is a missing value); in floats NaN is one.

    Args:
        test: columns by name, each [M]; empty to fit.
        train: columns by name, each [N]; empty when a context stands for them.
        target: class labels, [N]: int, bool or str.
        categorical: names of numeric columns whose values have no order; columns of str and bool
            are categorical anyway.
        options: of the family, such as the number of ensemble members.
        context: id of the fitted context that stands for ``train`` and ``target``.
    """

    test: Mapping[str, Array] = field(default_factory=dict)
    train: Mapping[str, Array] = field(default_factory=dict)
    target: Array | None = None
    categorical: frozenset[str] = frozenset()
    options: Mapping[str, float | str] = field(default_factory=dict)
    context: str | None = None

    def __post_init__(self) -> None:
        for part, columns in (("test", self.test), ("train", self.train)):
            shapes = {getattr(column, "shape", None) for column in columns.values()}
            if columns and (len(shapes) > 1 or len(shapes.pop() or ()) != 1):
                self._expect_lists(part, columns)
        if self.context is not None and (self.train or self.target is not None):
            raise InvalidInput("give either a context or rows to learn from, not both")
        if self.train and self.test and (differing := set(self.train) ^ set(self.test)):
            raise InvalidInput(
                f"train and test must have the same columns; differing: {sorted(differing)}"
            )
        if self.target is not None and self.train:
            rows = len(next(iter(self.train.values())))
            if self.target.shape != (rows,):
                raise InvalidInput(
                    f"the target has shape {self.target.shape}; one label for each of the {rows} "
                    "rows to learn from is needed"
                )
        if unknown := self.categorical - set(self.train or self.test):
            raise InvalidInput(f"categorical names columns that there are not: {sorted(unknown)}")

    @staticmethod
    def _expect_lists(part: str, columns: Mapping[str, Array]) -> None:
        for name, column in columns.items():
            if getattr(column, "ndim", 1) != 1:
                raise InvalidInput(
                    f"{part} column {name!r} has shape {column.shape}; one value for each row "
                    "is needed"
                )
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            raise InvalidInput(f"{part} columns must have one length, not {lengths}")


@dataclass(frozen=True)
class TabularReply:
    """Class probabilities, and how far the members of the ensemble disagree.

    Args:
        probabilities: float64 [M, C]; rows sum to 1.
        classes: [C] the labels, sorted, naming the columns.
        uncertainty: float64 [M], nats: entropy of the members' mean minus the mean of their
            entropies (the mutual information of label and member); 0 with one member.
        notes: choices that were made for the caller, such as which rows were left out.
    """

    probabilities: Array
    classes: Array
    uncertainty: Array
    notes: tuple[str, ...] = ()
