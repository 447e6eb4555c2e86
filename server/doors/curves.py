"""The door of learning curves: ``foretoken.v1.Curves``.

Whatever a stream knows is local to its handler, so nothing is left behind however it ends.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

import numpy as np

from foretoken.errors import InvalidInput
from foretoken.models.tasks import CurveRequest, Task, following
from foretoken.posterior import QUANTILES, Floats
from foretoken.proto import curves as wire
from foretoken.proto.loading import service
from foretoken.server.doors.posteriors import encoded
from foretoken.server.doors.service import Bidirectional, Call, Service, Stream, Unary
from foretoken.server.plane import Plane
from foretoken.server.registry.records import Version
from foretoken.server.settings import Settings
from foretoken.server.terms import Terms
from foretoken.server.watched import WatchedRun

__all__ = ["curves"]

THRESHOLD = 0.05
_DETAILS = frozenset(wire.Detail.values())


def curves(plane: Plane, settings: Settings) -> Service:
    """The service, answered by ``plane`` within the limits of ``settings``."""
    door = _Door(plane, settings)
    return Service(
        service("foretoken/v1/curves.proto", "Curves"),
        {"Extrapolate": Unary(door.extrapolate), "Watch": Bidirectional(door.watch)},
    )


class _Door:
    def __init__(self, plane: Plane, settings: Settings) -> None:
        self._plane = plane
        self._settings = settings

    async def extrapolate(
        self, asked: wire.ExtrapolateRequest, call: Call
    ) -> wire.ExtrapolateResponse:
        detail, terms = _detail(asked.detail), _keyed(call.terms, asked.key)
        loaded = await self._plane.describe(asked.model, terms)
        self._plane.expect_time(loaded, terms)
        answers = await self._plane.answer(loaded, self._requests(asked), terms)
        call.answered(answers)
        made = await encoded(answers.replies, detail)
        return wire.ExtrapolateResponse(
            posteriors=made.posteriors,
            model=answers.version.name,
            version=answers.version.number,
            borders=made.borders,
        )

    async def watch(self, stream: Stream, call: Call) -> None:
        first = await stream.read()
        if first is None:
            return
        _expect(first, "open")
        opening = first.open
        detail, run = _detail(opening.detail), self._run(opening)
        terms = _keyed(call.terms, opening.key)
        loaded = await self._plane.describe(opening.model, terms)
        if loaded.family.task is not Task.CURVE:
            raise InvalidInput(f"model {opening.model!r} answers {loaded.family.task} requests")
        version = loaded.version
        await stream.write(await self._outlook(run, version, detail, call))
        while (message := await stream.read()) is not None:
            _expect(message, "observe")
            seen = message.observe
            run.observe(seen.step, seen.value, seen.best if seen.HasField("best") else None)
            await stream.write(await self._outlook(run, version, detail, call))

    async def _outlook(
        self, run: WatchedRun, version: Version, detail: int, call: Call
    ) -> wire.WatchResponse:
        """What is expected of the run now."""
        said = wire.WatchResponse(observed=run.observed, model=version.name, version=version.number)
        request = run.request()
        if request is None:
            return said
        by = min(call.terms.deadline, time.monotonic() + self._settings.deadline)
        terms = replace(call.terms, deadline=by)
        answers = await self._plane.predict(version.ref, [request], terms)
        call.answered(answers)
        made = await encoded(answers.replies, detail)
        said.posterior.CopyFrom(made.posteriors[0])
        said.borders.extend(made.borders)
        if (advice := run.advice(answers.replies[0])) is not None:
            said.advice.CopyFrom(wire.Advice(stop=advice.stop, chance=advice.chance))
        return said

    # -- from messages, within the limits ---------------------------------------------------------

    def _requests(self, asked: wire.ExtrapolateRequest) -> list[CurveRequest]:
        limits = self._settings
        if len(asked.curves) > limits.curves:
            _refuse(f"{len(asked.curves)} curves", limits.curves, "curves")
        levels = self._levels(asked.quantiles)
        requests: list[CurveRequest] = []
        steps = 0
        for i, curve in enumerate(asked.curves):
            try:
                request = self._request(curve, levels)
            except InvalidInput as e:
                if len(asked.curves) == 1:
                    raise
                raise InvalidInput(f"curve {i}: {e}") from e
            steps += request.at.size
            if steps > limits.curve_steps:
                _refuse(f"{steps} or more steps to predict", limits.curve_steps, "curve_steps")
            requests.append(request)
        return requests

    def _request(self, curve: wire.Curve, levels: Floats) -> CurveRequest:
        limits = self._settings
        points = max(len(curve.values), len(curve.steps))
        if points > limits.curve_points:
            _refuse(f"{points} points of a curve", limits.curve_points, "curve_points")
        if len(curve.at) > limits.curve_steps:
            _refuse(f"{len(curve.at)} steps to predict", limits.curve_steps, "curve_steps")
        values = _array(curve.values)
        steps = _array(curve.steps) if curve.steps else np.arange(1.0, values.size + 1)
        metric = curve.metric
        return CurveRequest(
            values=values,
            steps=steps,
            at=_array(curve.at) if curve.at else following(steps),
            quantiles=levels,
            minimize=metric.minimize,
            bounds=_bounds(metric),
            soft_bounds=_soft_bounds(metric),
        )

    def _run(self, opening: wire.WatchOpen) -> WatchedRun:
        limits = self._settings
        if len(opening.at) > limits.curve_steps:
            _refuse(f"{len(opening.at)} steps to predict", limits.curve_steps, "curve_steps")
        metric = opening.metric
        run = WatchedRun(
            at=_array(opening.at),
            quantiles=self._levels(opening.quantiles),
            minimize=metric.minimize,
            bounds=_bounds(metric),
            soft_bounds=_soft_bounds(metric),
            best=opening.best if opening.HasField("best") else None,
            threshold=opening.threshold if opening.HasField("threshold") else THRESHOLD,
            most=limits.curve_points,
        )
        for seen in opening.seen:
            run.observe(seen.step, seen.value, seen.best if seen.HasField("best") else None)
        return run

    def _levels(self, given: Sequence[float]) -> Floats:
        most = self._settings.curve_levels
        if len(given) > most:
            _refuse(f"{len(given)} quantile levels", most, "curve_levels")
        return _array(given or QUANTILES)


def _expect(message: wire.WatchRequest, kind: str) -> None:
    """Refuse a message that is not the one that is due."""
    said = message.WhichOneof("message")
    if said != kind:
        raise InvalidInput(f"expected `{kind}` here, not `{said}`: `open` once, then `observe`")


def _keyed(terms: Terms, key: str) -> Terms:
    return replace(terms, key=key) if key else terms


def _detail(given: int) -> int:
    if given not in _DETAILS:
        raise InvalidInput(f"detail is one of {', '.join(wire.Detail.keys())}, not {given}")
    return given


def _bounds(metric: wire.Metric) -> tuple[float, float]:
    if not metric.HasField("bounds"):
        return 0.0, 1.0
    return metric.bounds.low, metric.bounds.high


def _soft_bounds(metric: wire.Metric) -> tuple[float, float] | None:
    if not metric.HasField("soft_bounds"):
        return None
    return metric.soft_bounds.low, metric.soft_bounds.high


def _array(given: Sequence[float]) -> Floats:
    return np.fromiter(given, np.float64, len(given))


def _refuse(what: str, most: int, setting: str) -> NoReturn:
    raise InvalidInput(f"{what} are more than this server takes, {most} ({setting})")
