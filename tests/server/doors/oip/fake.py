"""Planes that answer without any model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np

from foretoken.models.tasks import CurveRequest, Task
from foretoken.normalise import Normaliser
from foretoken.posterior import Posterior
from foretoken.server.plane import Answers
from foretoken.server.registry.records import Origin, Status, Version

VERSION = Version(
    "curves", 1, "sha256:0", Status.READY, "", "fake", "fp32", 0, datetime.now(UTC), Origin.USER
)


def posterior(request: CurveRequest) -> Posterior:
    """Flat, over three bars."""
    logits = np.zeros((len(request.at), 3), np.float32)
    scale = Normaliser(request.minimize, request.bounds, request.soft_bounds)
    return Posterior(request.at, request.quantiles, logits, np.linspace(0, 1, 4), scale)


@dataclass
class FakePlane:
    """Answers requests of one task by a function."""

    task: Task
    reply: Callable[[Any], Any]

    def __post_init__(self) -> None:
        self.requests: list[Any] = []
        self.terms: list[Any] = []

    async def describe(self, model: str, terms: Any) -> Any:
        return SimpleNamespace(version=VERSION, family=SimpleNamespace(task=self.task))

    def expect_time(self, loaded: Any, terms: Any) -> None:
        pass

    async def answer(self, loaded: Any, requests: Any, terms: Any) -> Answers:
        self.requests += requests
        self.terms.append(terms)
        return Answers([self.reply(each) for each in requests], VERSION, 0.0)


class SlowPlane(FakePlane):
    """Answers nothing until it is released."""

    def __init__(self) -> None:
        super().__init__(Task.CURVE, posterior)
        self.running = self.cancelled = 0
        self._released = asyncio.Event()

    def release(self) -> None:
        self._released.set()

    async def reached(self, running: int) -> None:
        """Wait until so many requests are running."""
        while self.running < running:
            await asyncio.sleep(0.001)

    async def idle(self) -> None:
        while self.running:
            await asyncio.sleep(0.001)

    async def answer(self, loaded: Any, requests: Any, terms: Any) -> Answers:
        self.running += 1
        try:
            await self._released.wait()
            return await super().answer(loaded, requests, terms)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
