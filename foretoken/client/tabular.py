"""Tables: what is sent to fit and to predict, and how the replies are read.

Letters: N labelled rows, M rows to classify, C classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foretoken.arrays import column
from foretoken.client.methods import method
from foretoken.client.operations import DELAYS, Pause, Steps, Unary, message
from foretoken.client.predictions import (
    Fitted,
    Prediction,
    context_of,
    fitted_of,
    joined,
    prediction_of,
)
from foretoken.client.tables import TableLike, column_message, parts_of, table_message
from foretoken.errors import InvalidInput, NotFound, Unavailable
from foretoken.proto import tabular as wire
from foretoken.records import ContextRecord, Record

__all__ = [
    "Given",
    "TableFlow",
    "context",
    "contexts",
    "delete",
    "fitted",
    "id_of",
    "measure",
    "option",
    "predict",
    "training_message",
]

PAGE = 1000


@dataclass(frozen=True)
class Given:
    """What a prediction rests on: a context, or a model and labelled rows.

    Raises:
        InvalidInput: when it is made, unless it is one or the other.
    """

    context: Fitted | ContextRecord | str | None
    model: str | None = None
    train: TableLike | None = None
    target: str | ArrayLike | None = None
    categorical: Iterable[str] = ()
    options: Mapping[str, float | str] | None = None

    def __post_init__(self) -> None:
        labelled = self.train is not None or self.target is not None
        if self.context is None:
            if self.model is None or self.train is None or self.target is None:
                raise InvalidInput("give a context, or all of model, train and target")
        elif labelled or self.options or tuple(self.categorical):
            raise InvalidInput(
                "give a context, or labelled rows with their options: a context was fitted with "
                "its own"
            )

    def fields(self) -> dict[str, Any]:
        """Fields that requests to predict and openings of streams share."""
        if self.context is not None:
            return {"model": self.model, "context_id": id_of(self.context)}
        assert self.train is not None
        assert self.target is not None
        training = training_message(self.train, self.target, self.categorical, self.options)
        return {"model": self.model, "training": training}


class TableFlow:
    """What flows through a stream of rows to classify; see ``flow.Subject``.

    Args:
        given: what predictions rest on.
        key: chooses the side of a canary.
        uncertainty: whether replies carry it.
    """

    method = "Tabular.PredictStream"

    def __init__(self, given: Given, key: str | None, *, uncertainty: bool) -> None:
        fields = given.fields()
        self._opening = message(wire.PredictOpen, key=key, uncertainty=uncertainty, **fields)
        self._uncertainty = uncertainty

    def opening(self) -> wire.PredictStreamRequest:
        return wire.PredictStreamRequest(open=self._opening)

    def chunk(self, given: TableLike) -> wire.PredictStreamRequest:
        return wire.PredictStreamRequest(test=table_message(given))

    def answer(self, _asked: Any, reply: Any, /) -> Prediction:
        if reply.context_id and not self._opening.context_id:
            self._opening.context_id = reply.context_id  # in the place of labelled rows
            self._opening.model = f"{reply.model}:{reply.version}"
        return prediction_of(reply, uncertainty=self._uncertainty)


def training_message(
    columns: TableLike,
    target: str | ArrayLike,
    categorical: Iterable[str],
    options: Mapping[str, float | str] | None,
) -> wire.Training:
    """Labelled rows as the wire has them.

    Raises:
        InvalidInput: naming the column or option that is not acceptable.
    """
    if isinstance(categorical, str):
        raise InvalidInput(f"categorical is a list of names; give [{categorical!r}]")
    labels = None if isinstance(target, str) else column_message("", _labels(target))
    return message(
        wire.Training,
        table=table_message(columns),
        target=target if isinstance(target, str) else None,
        labels=labels,
        categorical=list(categorical),
        options={name: option(name, value) for name, value in (options or {}).items()},
    )


def fit(
    model: str, training: wire.Training, key: str | None, *, plan_only: bool = False
) -> Steps[wire.FitResponse]:
    """Fit labelled rows, or only plan to."""
    request = message(wire.FitRequest, model=model, training=training, plan_only=plan_only, key=key)
    reply: wire.FitResponse = yield Unary(method("Tabular.Fit"), request)
    return reply


def fitted(model: str, training: wire.Training, key: str | None) -> Steps[Fitted]:
    """Fit labelled rows."""
    reply = yield from fit(model, training, key)
    return fitted_of(reply)


def measure(model: str, training: wire.Training, key: str | None) -> Steps[int]:
    """Bytes that the context of labelled rows would have."""
    reply = yield from fit(model, training, key, plan_only=True)
    return reply.context.nbytes


def predict(
    given: Given, test: TableLike | None, key: str | None, *, uncertainty: bool
) -> Steps[Prediction]:
    """Class probabilities; by a context, in as many messages as it takes."""
    if test is None:
        raise InvalidInput("there are no rows to predict; give test")
    fields = given.fields()
    parts = iter([table_message(test)]) if given.context is None else parts_of(test)
    found = []
    for part in parts:
        request = message(
            wire.PredictRequest, test=part, uncertainty=uncertainty, key=key, **fields
        )
        reply = yield Unary(method("Tabular.Predict"), request)
        found.append(prediction_of(reply, uncertainty=uncertainty))
    return found[0] if len(found) == 1 else joined(found)


def context(id: str) -> Steps[ContextRecord]:  # noqa: A002
    """One context."""
    return context_of(
        (yield Unary(method("Tabular.Describe"), message(wire.DescribeRequest, id=id)))
    )


def contexts(model: str | None) -> Steps[list[ContextRecord]]:
    """All contexts of the caller, or those of one model, by id."""
    found: list[ContextRecord] = []
    after = None
    while True:
        request = message(wire.ContextsRequest, model=model, after=after, limit=PAGE)
        reply = yield Unary(method("Tabular.Contexts"), request)
        found += map(context_of, reply.contexts)
        after = reply.next
        if not after:
            return found


def delete(id: str) -> Steps[None]:  # noqa: A002
    """Erase a context; one that is gone after a try whose answer was lost was erased by that."""
    request = message(wire.DeleteContextRequest, id=id)
    for tries, delay in enumerate((*DELAYS, None)):
        try:
            yield Unary(method("Tabular.Delete"), request)
            return
        except NotFound:
            if not tries:
                raise
            return
        except Unavailable:
            if delay is None:
                raise
            yield Pause(delay)


def id_of(context: Record | str) -> str:
    """The id of whatever stands for a context.

    Raises:
        InvalidInput: if nothing does.
    """
    if isinstance(context, Record) and isinstance(found := getattr(context, "id", None), str):
        return found
    if isinstance(context, str) and context:
        return context
    raise InvalidInput(
        f"a context is what fit() or embed_graph() returns, or its id, not {context!r}"
    )


def _labels(target: ArrayLike) -> NDArray[Any]:
    labels = column("target", target)
    if labels.dtype.kind == "f":
        raise InvalidInput(
            "the target holds real numbers or has missing labels; classes are integers, booleans "
            "or text, one for each row"
        )
    return labels


def option(name: str, value: Any) -> wire.Option:
    """An option of a family, as the wire has it.

    Raises:
        InvalidInput: if it is neither a number nor a text.
    """
    if isinstance(value, str):
        return message(wire.Option, text=value)
    if isinstance(value, bool | int | float | np.number | np.bool_):
        return message(wire.Option, number=float(value))
    raise InvalidInput(f"option {name!r} must be a number or text, not {value!r}")
