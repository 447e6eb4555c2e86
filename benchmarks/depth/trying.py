"""Searches and trials of many problems at once, through a plane in this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from benchmarks.depth.problems import Problem
from foretoken.models.depth.chains import Chain
from foretoken.models.depth.requests import SearchOptions, SearchReply, SearchRequest
from foretoken.models.depth.trials import GREEDY
from foretoken.models.depth.verifiers import Exact
from foretoken.models.tasks import GenerationReply, GenerationRequest
from foretoken.server.local import LocalPlane

__all__ = ["Tries"]

T = TypeVar("T")
ROWS = 32  # problems at a time
PART = 16  # chains of each, of those that are listed
LONGEST = 8  # tokens of an answer and its end


@dataclass
class Tries:
    """What has been tried on one model.

    Args:
        plane: that serves it as
        name: of it.
        options: of searches.
        chains: tried so far, and
        layers: that they ran, all together.
        seconds: that it took.
    """

    plane: LocalPlane
    name: str
    options: SearchOptions
    chains: int = 0
    layers: int = 0
    seconds: float = 0.0
    _known: dict[tuple[Problem, Chain], bool] = field(default_factory=dict)

    def search(
        self, problems: Sequence[Problem], report: Callable[[int], None]
    ) -> list[SearchReply]:
        """A search for each problem, with its answer as the label."""

        async def one(i: int) -> SearchReply:
            options = replace(self.options, seed=self.options.seed + i)
            found = await self._searched(problems[i], options=options)
            report(1)
            return found

        replies = self._each(one, len(problems))
        for problem, reply in zip(problems, replies, strict=True):
            self._known |= {(problem, t.chain): bool(t.reward) for t in reply.tried}
        return replies

    def right(
        self, problems: Sequence[Problem], chains: Sequence[Sequence[Chain]]
    ) -> list[list[bool]]:
        """Whether each problem's chains answer it; those that are known are not run again."""
        options = replace(self.options, together=PART)

        async def one(i: int) -> None:
            new = tuple(c for c in chains[i] if (problems[i], c) not in self._known)
            if new:
                found = await self._searched(problems[i], options=options, chains=new)
                self._known |= {(problems[i], t.chain): bool(t.reward) for t in found.tried}

        self._each(one, len(problems))
        pairs = zip(problems, chains, strict=True)
        return [[self._known[problem, chain] for chain in own] for problem, own in pairs]

    def answers(
        self, problems: Sequence[Problem], chains: Sequence[Chain]
    ) -> list[list[tuple[str, bool]]]:
        """What each chain answers to each problem, and whether it comes to an end."""

        async def one(i: int) -> list[tuple[str, bool]]:
            found: list[tuple[str, bool]] = []
            for at in range(0, len(chains), PART):
                asked = GenerationRequest(problems[i].prompt, LONGEST, GREEDY)
                works = [replace(asked, chain=chain) for chain in chains[at : at + PART]]
                replies: list[GenerationReply] = await self._ask(works)
                found += [(reply.text, reply.finish == "stop") for reply in replies]
            self._count(chains)
            return found

        return self._each(one, len(problems))

    async def _searched(self, problem: Problem, **said: Any) -> SearchReply:
        request = SearchRequest(problem.prompt, Exact(problem.answer), **said)
        reply: SearchReply
        (reply,) = await self._ask([request])
        self._count([tried.chain for tried in reply.tried])
        return reply

    async def _ask(self, requests: Sequence[Any]) -> list[Any]:
        return (await self.plane.plane.predict(self.name, requests)).replies

    def _count(self, chains: Sequence[Chain]) -> None:
        self.chains += len(chains)
        self.layers += sum(map(len, chains))

    def _each(self, one: Callable[[int], Awaitable[T]], count: int) -> list[T]:
        began = time.perf_counter()

        async def everything() -> list[T]:
            room = asyncio.Semaphore(ROWS)

            async def within(i: int) -> T:
                async with room:
                    return await one(i)

            return await asyncio.gather(*(within(i) for i in range(count)))

        found = self.plane.run(everything())
        self.seconds += time.perf_counter() - began
        return found
