"""Made-up tables to fit and rows to ask about, as the wire has them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foretoken.client.tables import table_message
from foretoken.proto import tabular as wire

__all__ = ["Question", "question"]

Columns = dict[str, NDArray[np.float64]]


@dataclass(eq=False)
class Question:
    """Labelled rows, and rows to classify by them.

    Args:
        train: columns, each [N].
        labels: of the rows, [N].
        test: columns, each [M].
        context: id of what was fitted of it; "" before.
    """

    train: Columns
    labels: NDArray[np.int64]
    test: Columns
    context: str = ""

    @property
    def known(self) -> tuple[Columns, NDArray[np.int64]]:
        """The labelled rows."""
        return self.train, self.labels

    def payload(self) -> bytes:
        """A request for the class probabilities of ``test`` by the context."""
        request = wire.PredictRequest(context_id=self.context, test=table_message(self.test))
        return request.SerializeToString()


def question(seed: int, rows: int, columns: int, asked: int) -> Question:
    """Two classes, divided by a linear function of normal columns; each seed has another table."""
    rng = np.random.default_rng(seed + 1)
    x = rng.standard_normal((rows + asked, columns))
    labels = (x @ rng.standard_normal(columns) > 0).astype(np.int64)
    table = {f"x{i}": column for i, column in enumerate(x.T)}
    return Question(
        train={name: column[:rows] for name, column in table.items()},
        labels=labels[:rows],
        test={name: column[rows:] for name, column in table.items()},
    )
