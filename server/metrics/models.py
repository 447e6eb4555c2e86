"""What is counted of one model, and of one version of it: cells found once and then held."""

from __future__ import annotations

import time
from bisect import bisect_left

from foretoken.server.engine.observer import Batch, Served
from foretoken.server.metrics.cells import Cells, Series
from foretoken.server.metrics.definitions import EXPOSED, ROWS, SECONDS

__all__ = ["ModelCounts", "VersionCounts", "cell_of"]

EXACT = 64  # batches of so many rows are told apart by each; larger ones by powers of two
BOUNDS = {each.name: each.bounds for each in EXPOSED}


def cell_of(cells: Cells, *series: str) -> list[float]:
    """The cell of a series, made with zeros when it is new."""
    found = cells.get(series)
    if found is None:
        bounds = BOUNDS.get(series[0], ())
        found = cells[series] = [0] * (len(bounds) + 2 if bounds else 1)
    return found


class VersionCounts:
    """The counts of one version, for statistics.

    The cell ``version`` holds: rows answered, batches; then pairs of a count and seconds of
    requests answered and failed, and of the answered ones' waiting, computing, and the rest.
    """

    FIELDS = 12

    def __init__(self, cells: Cells, model: str, number: int) -> None:
        self._cells, self._labels = cells, (model, str(number))
        self._series: list[Series] = []
        self._sums = self._cell("version", fields=self.FIELDS)
        self.latest = self._cell("version_latest", fields=1)  # seconds since 1970
        self._sizes: dict[int, list[float]] = {}

    def batch(self, batch: Batch) -> None:
        """Count a batch."""
        sums, rows = self._sums, batch.rows
        sums[0] += rows
        sums[1] += 1
        size = self._sizes.get(rows) or self._size(rows)
        size[0] += 1
        size[1] += batch.seconds

    def answered(self, served: Served) -> None:
        """Count a request that was answered."""
        sums, seconds, queue, compute = self._sums, served.seconds, served.queue, served.compute
        sums[2] += 1
        sums[3] += seconds
        sums[6] += 1
        sums[7] += queue
        sums[8] += 1
        sums[9] += compute
        sums[10] += 1
        sums[11] += max(0.0, seconds - queue - compute)
        self.latest[0] = time.time()

    def failed(self, seconds: float) -> None:
        """Count a request that was not."""
        self._sums[4] += 1
        self._sums[5] += seconds

    def _size(self, rows: int) -> list[float]:
        named = rows if rows <= EXACT else 1 << (rows - 1).bit_length()
        cell = self._cell("version_batches", str(named), fields=2)
        if len(self._sizes) < 4 * EXACT:
            self._sizes[rows] = cell
        return cell

    def _cell(self, name: str, *labels: str, fields: int) -> list[float]:
        series = (name, *self._labels, *labels)
        if series not in self._cells:
            self._cells[series] = [0] * fields
            self._series.append(series)
        return self._cells[series]

    def forget(self) -> None:
        """Give up all that was counted."""
        for series in self._series:
            del self._cells[series]


class ModelCounts:
    """The counts of one model.

    Args:
        cells: where they are kept.
        label: the model's name, or what stands for all those that are not named.
    """

    def __init__(self, cells: Cells, label: str) -> None:
        self._cells, self.label = cells, label
        self.waiting = cell_of(cells, "foretoken_calls_waiting", label)
        self._ok = self._outcome("ok")
        self._seconds = cell_of(cells, "foretoken_request_seconds", label)
        self._queue, self._compute, self._encode = (
            cell_of(cells, "foretoken_phase_seconds", label, phase)
            for phase in ("queue", "compute", "encode")
        )
        self._rows = cell_of(cells, "foretoken_batch_rows", label)
        self._real, self._padding = (
            cell_of(cells, "foretoken_batch_tokens_total", label, content)
            for content in ("real", "padding")
        )

    def batch(self, batch: Batch) -> None:
        """Count a batch."""
        cell, rows = self._rows, batch.rows
        cell[bisect_left(ROWS, rows)] += 1
        cell[-1] += rows
        self._real[0] += batch.tokens
        self._padding[0] += batch.padded - batch.tokens

    def answered(self, served: Served) -> None:
        """Count a request that was answered."""
        seconds, queue, compute = served.seconds, served.queue, served.compute
        self._ok[0] += 1
        cell = self._seconds
        cell[bisect_left(SECONDS, seconds)] += 1
        cell[-1] += seconds
        cell = self._queue
        cell[bisect_left(SECONDS, queue)] += 1
        cell[-1] += queue
        cell = self._compute
        cell[bisect_left(SECONDS, compute)] += 1
        cell[-1] += compute

    def failed(self, error: str, seconds: float) -> None:
        """Count a request that was not."""
        self._outcome(error)[0] += 1
        self._seconds[bisect_left(SECONDS, seconds)] += 1
        self._seconds[-1] += seconds

    def encoded(self, seconds: float) -> None:
        """Count the making of a reply's message."""
        self._encode[bisect_left(SECONDS, seconds)] += 1
        self._encode[-1] += seconds

    def count(self, metric: str, *labels: str) -> None:
        """One more of a counter whose first label is the model."""
        cell_of(self._cells, metric, self.label, *labels)[0] += 1

    def loaded(self, seconds: float) -> None:
        """Count a load."""
        cell = cell_of(self._cells, "foretoken_model_load_seconds", self.label)
        cell[bisect_left(SECONDS, seconds)] += 1
        cell[-1] += seconds

    def held(self, change: int) -> None:
        """So many versions more are held in memory."""
        cell_of(self._cells, "foretoken_loaded_versions", self.label)[0] += change

    def _outcome(self, outcome: str) -> list[float]:
        return cell_of(self._cells, "foretoken_requests_total", self.label, outcome)
