"""The extension "statistics": what each version has done, over all workers."""

from __future__ import annotations

import asyncio

from foretoken.proto import grpc_service as oip
from foretoken.server.doors.oip.names import reference
from foretoken.server.doors.oip.repository import visible
from foretoken.server.doors.service import Call
from foretoken.server.plane import Plane
from foretoken.server.statistics import Duration, ModelStatistics, Statistics

__all__ = ["StatisticsReader"]


class StatisticsReader:
    """Tells the statistics of the models that the caller sees.

    Args:
        plane: whose models they are.
        statistics: of all workers.
    """

    def __init__(self, plane: Plane, statistics: Statistics) -> None:
        self._plane = plane
        self._statistics = statistics

    async def read(
        self, request: oip.ModelStatisticsRequest, call: Call
    ) -> oip.ModelStatisticsResponse:
        """Of a version, of all versions of a model or, without a name, of all models.

        Raises:
            NotFound: if there is no such model, version or alias.
        """
        if request.name:
            ref = reference(request.name, request.version)
            version = await self._plane.pin(ref, call.terms)
            number = version.number if request.version else None
            counted = await self._statistics.of(version.name, number)
            counted = counted or [ModelStatistics(version.name, version.number)]
        else:
            counted = await self._statistics.of()
            names = await asyncio.to_thread(visible, self._plane.registry, call.terms.caller)
            counted = [each for each in counted if each.name in names]
        return oip.ModelStatisticsResponse(model_stats=map(_told, counted))


def _told(counted: ModelStatistics) -> oip.ModelStatistics:
    told = oip.ModelStatistics(
        name=counted.name,
        version=str(counted.version),
        last_inference=counted.last_inference,
        inference_count=counted.inferences,
        execution_count=counted.executions,
        inference_stats=oip.InferStatistics(
            success=_duration(counted.success),
            fail=_duration(counted.fail),
            queue=_duration(counted.queue),
            compute_input=_duration(counted.compute_input),
            compute_infer=_duration(counted.compute_infer),
            # perf_analyzer insists that the three parts of computing count the same requests.
            compute_output=oip.StatisticDuration(
                count=counted.compute_infer.count, ns=counted.compute_output.ns
            ),
        ),
    )
    for batch in counted.batches:
        told.batch_stats.add(batch_size=batch.size, compute_infer=_duration(batch.compute))
    return told


def _duration(duration: Duration) -> oip.StatisticDuration:
    return oip.StatisticDuration(count=duration.count, ns=duration.ns)
