"""Tables as tensors. Letters: N labelled rows, M rows to classify, F features, C classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from foretoken.errors import InvalidInput
from foretoken.models.contract import Array
from foretoken.models.tasks import TabularReply, TabularRequest
from foretoken.server.doors.tasks.base import (
    CONTEXT,
    INTEGERS,
    REALS,
    Asked,
    Kept,
    Limits,
    Parameter,
    Tensor,
    context_of,
    options,
    texts,
)

__all__ = ["CODEC", "TabularCodec"]

ANY = REALS + INTEGERS


class TabularCodec:
    """``X_train`` [N, F], ``y_train`` [N] and ``X_test`` [M, F] to one ``TabularRequest``.

    A context id stands for the first two; without ``X_test`` they are fitted, and the reply is the
    id alone.
    """

    inputs = (
        Tensor("X_train", ANY, (2,), optional=True),
        Tensor(
            "y_train",
            ("INT64", "INT32", "INT16", "INT8", "UINT8", "BOOL", "BYTES"),
            (1,),
            optional=True,
        ),
        Tensor("X_test", ANY, (2,), optional=True),
        Tensor(CONTEXT, ("BYTES",), (1,), optional=True),
    )
    outputs = (
        Tensor("probabilities", ("FP64",), (2,)),
        Tensor("classes", ("INT64", "BYTES", "BOOL"), (1,)),
        Tensor("uncertainty", ("FP64",), (1,)),
        Tensor(CONTEXT, ("BYTES",), (1,)),
    )

    def decode(
        self, tensors: Mapping[str, Array], parameters: Mapping[str, Parameter], limits: Limits
    ) -> Asked:
        """Columns are named by their position; parameters are the family's options.

        What is missing in a table is NaN. The model limits rows and features.
        """
        context = context_of(tensors, parameters)
        test = _columns(tensors["X_test"]) if "X_test" in tensors else {}
        own = options({n: value for n, value in parameters.items() if n != CONTEXT})
        if context is None:
            train, labels = _labelled(tensors)
            request = TabularRequest(test, _columns(train), labels, options=own)
            return Asked([request], "", fit=not test)
        if given := sorted({"X_train", "y_train"} & set(tensors)):
            raise InvalidInput(f"context_id stands for {', '.join(given)}; give one or the other")
        if own:
            raise InvalidInput(
                f"a context was fitted with its own options; leave out {', '.join(own)}"
            )
        if not test:
            raise InvalidInput("tensor 'X_test' is missing: the rows to classify by the context")
        return Asked([TabularRequest(test, context=context)], context)

    def encode(self, name: str, replies: Sequence[TabularReply | Kept], asked: Asked) -> Array:
        """``classes`` [C] are of the kind of ``y_train``; ``context_id`` [1] may be empty."""
        reply = replies[0]
        if name == CONTEXT:
            return np.array([reply.context if isinstance(reply, Kept) else asked.layout], object)
        if isinstance(reply, Kept):
            raise InvalidInput(
                f"output {name!r} needs X_test; without it the labelled rows are fitted, and the "
                "output is context_id"
            )
        array: Array = getattr(reply, name)
        return array.astype(np.int64) if array.dtype.kind in "iu" else array

    def names(self, replies: Sequence[TabularReply | Kept]) -> Sequence[str]:
        """The id of what was fitted, or probabilities and classes; the rest must be asked for."""
        return (CONTEXT,) if isinstance(replies[0], Kept) else ("probabilities", "classes")

    def work(self, asked: Asked) -> int:
        """Probabilities are sent as they are."""
        return 1


def _labelled(tensors: Mapping[str, Array]) -> tuple[Array, Array]:
    """``X_train`` and the labels."""
    if missing := [name for name in ("X_train", "y_train") if name not in tensors]:
        raise InvalidInput(
            f"input tensors are missing: {', '.join(missing)}; give X_train, y_train and X_test, "
            "or context_id and X_test, or, to fit, X_train and y_train"
        )
    train, target = tensors["X_train"], tensors["y_train"]
    if len(train) != len(target):
        raise InvalidInput(
            f"tensor 'X_train' has {len(train)} rows, 'y_train' {len(target)}: give one label "
            "for each row"
        )
    test = tensors.get("X_test", train)
    if train.shape[1] != test.shape[1] or train.shape[1] == 0:
        raise InvalidInput(
            f"tensor 'X_train' has {train.shape[1]} features, 'X_test' {test.shape[1]}: they "
            "must be the same, at least one"
        )
    return train, _labels(target) if target.dtype == object else target


def _labels(target: Array) -> Array:
    labels = np.empty(len(target), object)  # each as long as it is, not as the longest
    labels[:] = texts("y_train", target)
    return labels


def _columns(table: Array) -> dict[str, Array]:
    return {f"x{i}": column for i, column in enumerate(np.ascontiguousarray(table.T))}


CODEC = TabularCodec()
