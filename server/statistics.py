"""What each version has done since the server started, over all workers: counts and durations."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from foretoken.server.metrics import Cells, Metrics

__all__ = ["BatchStatistics", "Duration", "ModelStatistics", "Statistics"]

NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Duration:
    """How often, and how many nanoseconds in all."""

    count: int = 0
    ns: int = 0


@dataclass(frozen=True, slots=True)
class BatchStatistics:
    """Batches of one size.

    Args:
        size: rows; beyond 64 the next power of two stands for all sizes up to it.
        compute: the runtime's time.
    """

    size: int
    compute: Duration


@dataclass(frozen=True, slots=True)
class ModelStatistics:
    """The work of one version.

    Args:
        name: of the model.
        version: number.
        last_inference: when a request was last answered, milliseconds since 1970; 0 for never.
        inferences: rows that were computed.
        executions: batches that were run; fewer than rows where batching is at work.
        success: requests answered, from their arrival at the plane.
        fail: requests not answered, likewise.
        queue: waiting of the answered ones.
        compute_input: the family's own work for the answered ones, before, between and after
            calls of the runtime.
        compute_infer: the runtime's time for the answered ones; each counts its batches whole.
        compute_output: nothing; what replies take to encode is not known by version.
        batches: by size, in ascending order.
    """

    name: str
    version: int
    last_inference: int = 0
    inferences: int = 0
    executions: int = 0
    success: Duration = Duration()
    fail: Duration = Duration()
    queue: Duration = Duration()
    compute_input: Duration = Duration()
    compute_infer: Duration = Duration()
    compute_output: Duration = Duration()
    batches: tuple[BatchStatistics, ...] = ()


class Statistics:
    """Reads the statistics out of the metrics.

    Args:
        metrics: of this worker, which know those of the others.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def of(
        self, model: str | None = None, version: int | None = None
    ) -> list[ModelStatistics]:
        """The statistics of versions that are loaded or have worked, by name and number.

        Each worker keeps those of a model's 16 versions that worked last.

        Args:
            model: only its versions; None: those of all models.
            version: only this one.
        """
        cells = await self._metrics.cells()
        batches = _batches(cells)
        wanted = []
        for (name, *labels), cell in cells.items():
            if name == "version" and model in (None, labels[0]):
                number = int(labels[1])
                if version in (None, number):
                    latest = cells["version_latest", *labels][0]
                    sizes = batches[labels[0], number]
                    wanted.append(_statistics(labels[0], number, cell, latest, sizes))
        return sorted(wanted, key=lambda found: (found.name, found.version))


def _batches(cells: Cells) -> dict[tuple[str, int], list[BatchStatistics]]:
    found: dict[tuple[str, int], list[BatchStatistics]] = defaultdict(list)
    for series, cell in cells.items():
        if series[0] == "version_batches":
            _, model, version, size = series
            batch = BatchStatistics(int(size), _duration(*cell))
            found[model, int(version)].append(batch)
    return found


def _statistics(
    name: str, version: int, cell: list[float], latest: float, batches: list[BatchStatistics]
) -> ModelStatistics:
    rows, executions, *pairs = cell
    durations = [_duration(*pair) for pair in zip(pairs[::2], pairs[1::2], strict=True)]
    success, fail, queue, compute, other = durations
    return ModelStatistics(
        name=name,
        version=version,
        last_inference=int(latest * 1000),
        inferences=int(rows),
        executions=int(executions),
        success=success,
        fail=fail,
        queue=queue,
        compute_input=other,
        compute_infer=compute,
        batches=tuple(sorted(batches, key=lambda each: each.size)),
    )


def _duration(count: float, seconds: float) -> Duration:
    return Duration(int(count), round(seconds * NS))
