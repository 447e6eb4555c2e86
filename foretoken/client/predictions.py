"""What replies about tables say, as arrays and records.

Letters: M rows, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foretoken.errors import InternalError
from foretoken.proto import tabular as wire
from foretoken.records import ContextRecord, Record

__all__ = ["Fitted", "Prediction", "context_of", "fitted_of", "joined", "prediction_of"]

_CACHED = {wire.NO_CACHE: None, wire.HIT: True, wire.MISS: False}


@dataclass(frozen=True)
class Fitted(Record):
    """A training set that a model has read.

    Args:
        context: what is kept of it, under which id.
        cached: whether it had been read before.
        seconds: that reading it took.
        notes: choices that were made for the caller, such as which rows were left out.
    """

    context: ContextRecord
    cached: bool
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Of the context."""
        return self.context.id

    @property
    def nbytes(self) -> int:
        """Bytes of what was computed from the rows."""
        return self.context.nbytes


@dataclass(frozen=True)
class Prediction:
    """Class probabilities of M rows.

    Args:
        probabilities: float64 [M, C]; rows sum to 1.
        classes: [C] sorted, int64, bool or str as the labels were.
        uncertainty: float64 [M], nats, how far the members of the ensemble disagree; None unless
            it was asked for.
        cached: whether the labelled rows had been read before; None if the model keeps nothing.
        context: id of the context that was used; None if labelled rows came along.
        model: that answered.
        version: of it.
        notes: choices that were made for the caller.
    """

    probabilities: NDArray[np.float64]
    classes: NDArray[Any]
    uncertainty: NDArray[np.float64] | None
    cached: bool | None
    context: str | None
    model: str
    version: int
    notes: tuple[str, ...] = ()

    @property
    def labels(self) -> NDArray[Any]:
        """The likeliest class of each row, [M]."""
        likeliest: NDArray[Any] = self.classes[self.probabilities.argmax(axis=1)]
        return likeliest


def fitted_of(said: wire.FitResponse) -> Fitted:
    """What was fitted."""
    cached = bool(_CACHED.get(said.cache))
    return Fitted(context_of(said.context), cached, said.seconds, tuple(said.notes))


def prediction_of(said: wire.PredictResponse, *, uncertainty: bool) -> Prediction:
    """A reply's arrays.

    Raises:
        InternalError: if the reply is malformed.
    """
    classes = _classes(said.classes)
    flat = np.fromiter(said.probabilities, np.float64, len(said.probabilities))
    unsure = np.fromiter(said.uncertainty, np.float64, len(said.uncertainty))
    rows = flat.size // max(classes.size, 1)
    if flat.size != rows * classes.size or (uncertainty and unsure.size != rows):
        raise InternalError(
            f"the reply is malformed: {flat.size} probabilities and {unsure.size} uncertainties "
            f"for {classes.size} classes",
            id="",
        )
    return Prediction(
        probabilities=flat.reshape(rows, classes.size),
        classes=classes,
        uncertainty=unsure if uncertainty else None,
        cached=_CACHED.get(said.cache),
        context=said.context_id or None,
        model=said.model,
        version=said.version,
        notes=tuple(said.notes),
    )


def context_of(said: wire.Context) -> ContextRecord:
    """A context as it is kept."""
    try:
        return ContextRecord(
            id=said.id,
            model=said.model,
            version=said.version,
            rows=said.rows,
            columns=tuple(said.columns),
            classes=tuple(said.classes),
            members=said.members,
            nbytes=said.nbytes,
            kept_nbytes=said.kept_nbytes,
            created=datetime.fromtimestamp(said.created, UTC),
            used=datetime.fromtimestamp(said.used, UTC),
            expires=datetime.fromtimestamp(said.expires, UTC) if said.HasField("expires") else None,
            texts=tuple(said.texts),
        )
    except (ValueError, OverflowError, OSError) as e:
        raise InternalError(f"the reply is malformed: {e}", id="") from e


def _classes(said: wire.Classes) -> NDArray[Any]:
    match said.WhichOneof("kind"):
        case "integers":
            return np.array(said.integers.values, np.int64)
        case "booleans":
            return np.array(said.booleans.values, np.bool_)
        case _:
            return np.array(list(said.texts.values), np.str_)


def joined(parts: list[Prediction]) -> Prediction:
    """One prediction from those of consecutive rows."""
    first = parts[0]
    unsure = [part.uncertainty for part in parts if part.uncertainty is not None]
    return Prediction(
        probabilities=np.concatenate([part.probabilities for part in parts]),
        classes=first.classes,
        uncertainty=np.concatenate(unsure) if unsure else None,
        cached=first.cached,
        context=first.context,
        model=first.model,
        version=first.version,
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )
