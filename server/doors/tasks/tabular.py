"""Tables as tensors. Letters: N labelled rows, M rows to classify, F features, C classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from foretoken.errors import InvalidInput
from foretoken.models.contract import Array
from foretoken.models.tasks import TabularReply, TabularRequest
from foretoken.server.doors.tasks.base import (
    INTEGERS,
    REALS,
    Asked,
    Limits,
    Parameter,
    Tensor,
    number,
    texts,
)

__all__ = ["CODEC", "TabularCodec"]

ANY = REALS + INTEGERS


class TabularCodec:
    """``X_train`` [N, F], ``y_train`` [N] and ``X_test`` [M, F] to one ``TabularRequest``."""

    inputs = (
        Tensor("X_train", ANY, (2,)),
        Tensor("y_train", ("INT64", "INT32", "INT16", "INT8", "UINT8", "BOOL", "BYTES"), (1,)),
        Tensor("X_test", ANY, (2,)),
    )
    outputs = (
        Tensor("probabilities", ("FP64",), (2,)),
        Tensor("classes", ("INT64", "BYTES"), (1,)),
    )

    def decode(
        self, tensors: Mapping[str, Array], parameters: Mapping[str, Parameter], limits: Limits
    ) -> Asked:
        """Columns are named by their position; parameters are the family's options, numbers all.

        What is missing in a table is NaN. The model limits rows and features.
        """
        train, target, test = (tensors[each.name] for each in self.inputs)
        if len(train) != len(target):
            raise InvalidInput(
                f"tensor 'X_train' has {len(train)} rows, 'y_train' {len(target)}: give one label "
                "for each row"
            )
        if train.shape[1] != test.shape[1] or train.shape[1] == 0:
            raise InvalidInput(
                f"tensor 'X_train' has {train.shape[1]} features, 'X_test' {test.shape[1]}: they "
                "must be the same, at least one"
            )
        options = {name: number(parameters, name) or 0.0 for name in parameters}
        labels = np.array(texts("y_train", target)) if target.dtype == object else target
        return Asked([TabularRequest(_columns(test), _columns(train), labels, options=options)])

    def encode(self, name: str, replies: Sequence[TabularReply], asked: Asked) -> Array:
        """``probabilities`` [M, C]; ``classes`` [C] are of the kind of ``y_train``."""
        array: Array = getattr(replies[0], name)
        return array.astype(np.int64) if array.dtype.kind in "iub" else array

    def names(self, replies: Sequence[TabularReply]) -> Sequence[str]:
        """All of ``outputs``."""
        return tuple(tensor.name for tensor in self.outputs)

    def work(self, asked: Asked) -> int:
        """Probabilities are sent as they are."""
        return 1


def _columns(table: Array) -> dict[str, Array]:
    return {f"x{i}": column for i, column in enumerate(np.ascontiguousarray(table.T))}


CODEC = TabularCodec()
