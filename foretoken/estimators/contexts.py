"""Where a classifier's contexts are kept: in this process's own data dir, or by a server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from foretoken.client import Client
    from foretoken.models.tasks import TabularRequest
    from foretoken.records import ContextRecord
    from foretoken.server.local import LocalPlane

__all__ = ["Answer", "Contexts", "Learned", "Local", "Remote", "Training"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Training:
    """Labelled rows; see ``foretoken.models.tasks.TabularRequest``."""

    columns: Mapping[str, Array]
    target: Array
    categorical: frozenset[str]
    options: Mapping[str, float | str]


@dataclass(frozen=True)
class Learned:
    """What was made of them: the context, and the choices made for the caller."""

    context: ContextRecord
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """Probabilities [M, C], their classes [C], uncertainty [M] in nats, and notes."""

    probabilities: NDArray[np.float64]
    classes: Array
    uncertainty: NDArray[np.float64]
    notes: tuple[str, ...]


class Contexts(Protocol):
    """Fits tables and answers by what was fitted; errors are those of ``foretoken.errors``."""

    def measure(self, model: str, training: Training) -> int:
        """Bytes that the context will take."""

    def fit(self, model: str, training: Training) -> Learned:
        """Read the rows, and keep what was read."""

    def record(self, context: str) -> ContextRecord:
        """What is kept under an id."""

    def predict(self, context: str, columns: Mapping[str, Array]) -> Answer:
        """Classify rows by a context."""


class Remote:
    """A server's."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def measure(self, model: str, training: Training) -> int:
        return self._client.measure(model, *_given(training), **_said(training))

    def fit(self, model: str, training: Training) -> Learned:
        fitted = self._client.fit(model, *_given(training), **_said(training))
        return Learned(fitted.context, fitted.notes)

    def record(self, context: str) -> ContextRecord:
        return self._client.context(context)

    def predict(self, context: str, columns: Mapping[str, Array]) -> Answer:
        found = self._client.predict(context, columns, uncertainty=True)
        assert found.uncertainty is not None
        return Answer(found.probabilities, found.classes, found.uncertainty, found.notes)


def _given(training: Training) -> tuple[Mapping[str, Array], Array]:
    return training.columns, training.target


def _said(training: Training) -> dict[str, Any]:
    return {"categorical": sorted(training.categorical), "options": training.options}


class Local:
    """This process's own."""

    def __init__(self, local: LocalPlane) -> None:
        self._local = local

    def measure(self, model: str, training: Training) -> int:
        return self._local.measure(model, _request(training))

    def fit(self, model: str, training: Training) -> Learned:
        fitted = self._local.fit(model, _request(training))
        return Learned(fitted.context, tuple(fitted.notes))

    def record(self, context: str) -> ContextRecord:
        return self._local.context(context)

    def predict(self, context: str, columns: Mapping[str, Array]) -> Answer:
        from foretoken.models.tasks import TabularRequest  # noqa: PLC0415

        (reply,) = self._local.predict("", [TabularRequest(test=columns, context=context)])
        return Answer(reply.probabilities, reply.classes, reply.uncertainty, reply.notes)


def _request(training: Training) -> TabularRequest:
    from foretoken.models.tasks import TabularRequest  # noqa: PLC0415

    return TabularRequest(
        train=training.columns,
        target=training.target,
        categorical=training.categorical,
        options=training.options,
    )
