"""Menus of chains: searches over labelled rows become a child version with a menu.

A menu is chosen on one part of the rows and measured on the other, which the choosing never sees.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from foretoken.arrays import expect_unicode
from foretoken.errors import InvalidInput, Unsupported
from foretoken.models.artefact import Artefact
from foretoken.models.contract import Array
from foretoken.models.depth.adaptive import Adaptive
from foretoken.models.depth.chains import Chain, full
from foretoken.models.depth.chooser import worthwhile
from foretoken.models.depth.menus import RIGHT, Menu, candidates, chosen, figures
from foretoken.models.depth.requests import SearchOptions, SearchReply, SearchRequest
from foretoken.models.depth.trials import GREEDY
from foretoken.models.depth.verifiers import Exact, Matches
from foretoken.models.tasks import GenerationReply, GenerationRequest
from foretoken.server.registry.records import Version
from foretoken.server.terms import Terms

if TYPE_CHECKING:
    from foretoken.server.admin import Admin
    from foretoken.server.plane import Plane

__all__ = ["LabelledRow", "MenuOptions", "MenuProgress", "MenuStored", "build_menu", "read_rows"]

T = TypeVar("T")
ROWS = 10_000  # at most
CHAINS = 1000  # of a menu, and of candidates, at most
AT_ONCE = 512  # chains that run together for all rows, at most: half of what may wait by default


@dataclass(frozen=True)
class LabelledRow:
    """A prompt, and what says which of its answers are right."""

    prompt: str
    verifier: Exact | Matches

    def __post_init__(self) -> None:
        expect_unicode((self.prompt,), "the prompt")


@dataclass(frozen=True)
class MenuOptions:
    """How a menu is made.

    Args:
        chains: of the menu, K, at most.
        search: of each row that the menu is chosen by.
        max_tokens: of an answer.
        short: tokens that every chain of a menu runs when they are to agree.
        held_out: share of the rows that the menu is measured on, and not chosen by.
        candidates: chains that are tried on all rows that the menu is chosen by; those that most
            searches found right.
        chooser: whether one is fitted; it is kept if it beats the menu's first chain on rows that
            it has not learned from, of those that the menu is chosen by.
        together: rows that are searched at a time.
        seed: of what is drawn.

    Raises:
        InvalidInput: one of these is out of range.
    """

    chains: int = 10
    search: SearchOptions = field(default_factory=SearchOptions)
    max_tokens: int = 16
    short: int = 8
    held_out: float = 0.5
    candidates: int = 64
    chooser: bool = True
    together: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("chains", "candidates"):
            if not 1 <= getattr(self, name) <= CHAINS:
                raise InvalidInput(f"{name} is 1 to {CHAINS}, not {getattr(self, name)}")
        for name in ("max_tokens", "short", "together"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name} is at least 1, not {getattr(self, name)}")
        if not 0 < self.held_out < 1:
            raise InvalidInput(f"held_out is a share between 0 and 1, not {self.held_out}")


@dataclass(frozen=True)
class MenuProgress:
    """How far the work is.

    Args:
        stage: "search", "choose" or "measure".
        done: rows of it, of
        total: how many.
        row: that was searched last, by its place among the rows, in the stage "search".
        found: what was found for it.
    """

    stage: str
    done: int
    total: int
    row: int | None = None
    found: SearchReply | None = None


@dataclass(frozen=True)
class MenuStored:
    """What was stored, the last that is told.

    Args:
        version: the child, READY; aliases point where they did.
        chains: its menu.
        chooser: whether it has one.
        figures: shares of held-out rows answered right, also kept in its training record under
            "menu": "plain", "single" (the menu's first chain), "any" by K, "agreement", "chooser",
            and how many "rows" there were, "chosen_by" and held out.
    """

    version: Version
    chains: tuple[Chain, ...]
    chooser: bool
    figures: Mapping[str, Any]


def read_rows(lines: Iterable[str]) -> tuple[LabelledRow, ...]:
    """Labelled rows from JSON Lines: objects with "prompt" and either "answer" or "pattern".

    Raises:
        InvalidInput: a line is none, which the message names, or there are fewer than two.
    """
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            rows.append(_row(json.loads(line)))
        except (ValueError, RecursionError) as e:
            raise InvalidInput(f"line {number}: {e}") from e
    _expect_rows(rows)
    return tuple(rows)


def _row(said: Any) -> LabelledRow:
    if not isinstance(said, dict) or not all(isinstance(v, str) for v in said.values()):
        raise InvalidInput("a row is an object of texts")
    if said.keys() == {"prompt", "answer"}:
        return LabelledRow(said["prompt"], Exact(said["answer"]))
    if said.keys() == {"prompt", "pattern"}:
        return LabelledRow(said["prompt"], Matches(said["pattern"]))
    raise InvalidInput(
        f'a row has "prompt" and either "answer" or "pattern", not {", ".join(sorted(said))}'
    )


def _expect_rows(rows: Sequence[LabelledRow]) -> None:
    if not 2 <= len(rows) <= ROWS:
        raise InvalidInput(
            f"a menu takes 2 to {ROWS} rows, not {len(rows)}: it is chosen by some, "
            "and measured on others"
        )


async def build_menu(
    plane: Plane,
    admin: Admin,
    model: str,
    rows: Sequence[LabelledRow],
    options: MenuOptions | None = None,
    terms: Terms = Terms(),  # noqa: B008  (frozen)
) -> AsyncGenerator[MenuProgress | MenuStored, None]:
    """Search rows through a plane, make a menu of what was found, and store it as a child.

    Closing the iterator, or cancelling whoever awaits it, ends the searches; nothing is stored
    then.

    Args:
        plane: that answers.
        admin: that registers, on behalf of ``terms.caller``.
        model: ``NAME``, ``NAME:VERSION`` or ``ALIAS@NAME``; the child is a version of its model.
        rows: at least two.
        options: of the menu.
        terms: of all of it; the caller needs the scopes "predict" and "admin".

    Raises:
        InvalidInput: the rows are too few, one is not acceptable to the model, or the model does
            not generate by chains.
        PermissionDenied: the caller may not register, or not under this name.
        Others: as ``Plane.predict`` does.
    """
    _expect_rows(rows)
    options = options or MenuOptions()
    version = await plane.pin(model, terms)
    await admin.expect_change(terms.caller, version.name)
    loaded = await plane.describe(version.ref, terms)
    if not isinstance(loaded.predictor, Adaptive):
        raise Unsupported(f"{version.ref} does not generate by chains of layers; it has no menu")
    building = _Building(plane, version, loaded.predictor, tuple(rows), options, terms)
    async with aclosing(building.run()) as progress:
        async for step in progress:
            yield step
    menu, said = await building.ended()

    def with_menu(artefact: Artefact) -> Artefact:
        config = {**artefact.config, "menu": menu.said()}
        return replace(artefact, config=config, training={**artefact.training, "menu": said})

    child = await admin.derive(terms.caller, version, with_menu)
    yield MenuStored(child, menu.chains, menu.chooser is not None, said)


class _Building:
    """One menu in the making; arguments as for ``build_menu``."""

    def __init__(
        self,
        plane: Plane,
        version: Version,
        model: Adaptive,
        rows: tuple[LabelledRow, ...],
        options: MenuOptions,
        terms: Terms,
    ) -> None:
        self._plane, self._version, self._terms = plane, version, terms
        self._model, self._rows, self._options = model, rows, options
        order = list(range(len(rows)))
        random.Random(options.seed).shuffle(order)
        held = min(max(1, round(options.held_out * len(rows))), len(rows) - 1)
        self._held, self._own = sorted(order[:held]), sorted(order[held:])
        self._chains: tuple[Chain, ...] = ()  # of the menu
        self._right = self._taught = np.zeros((0, 0), bool)
        self._answers: list[list[tuple[int, ...]]] = []

    async def run(self) -> AsyncGenerator[MenuProgress, None]:
        """Search, choose, and measure what was chosen."""
        found: dict[int, SearchReply] = {}
        together = self._options.search.together
        async with aclosing(self._each(self._own, self._search, together)) as searches:
            async for i, reply in searches:
                found[i] = reply
                yield MenuProgress("search", len(found), len(self._own), i, reply)
        every = candidates([found[i] for i in self._own], self._options.candidates)
        tried: dict[int, Array] = {}
        async with aclosing(self._each(self._own, partial(self._try, every), together)) as tries:
            async for i, rights in tries:
                tried[i] = rights
                yield MenuProgress("choose", len(tried), len(self._own))
        right = np.stack([tried[i] for i in self._own])
        menu = chosen(every, right, self._options.chains)
        self._chains, self._taught = tuple(every[c] for c in menu), right[:, menu]
        measured: dict[int, tuple[Array, list[tuple[int, ...]]]] = {}
        size = max(together, len(menu))
        async with aclosing(self._each(self._held, self._measure, size)) as measures:
            async for i, result in measures:
                measured[i] = result
                yield MenuProgress("measure", len(measured), len(self._held))
        self._right = np.stack([measured[i][0] for i in self._held])
        self._answers = [measured[i][1] for i in self._held]

    async def ended(self) -> tuple[Menu, dict[str, Any]]:
        """The menu and its figures, once ``run`` has ended."""
        plain, right = self._right[:, 0], self._right[:, 1:]
        chooser, choices = None, None
        if self._options.chooser and len(self._chains) > 1:
            ids = [self._ids(i) for i in self._own]
            chooser = await asyncio.to_thread(worthwhile, ids, self._taught)
        if chooser is not None:
            choices = [chooser.choice(self._ids(i)) for i in self._held]
        said = figures(plain, right, self._answers, choices)
        said |= {"rows": {"chosen_by": len(self._own), "held_out": len(self._held)}}
        return Menu(self._chains, self._options.short, chooser), said

    async def _search(self, i: int) -> SearchReply:
        options = replace(self._options.search, seed=self._options.search.seed + i)
        reply: SearchReply
        (reply,) = await self._ask(i, [self._request(i, options=options)])
        return reply

    async def _try(self, chains: tuple[Chain, ...], i: int) -> Array:
        """Which of the chains answer a row, bool [C]."""
        request = self._request(i, options=self._options.search, chains=chains)
        (reply,) = await self._ask(i, [request])
        return np.array([tried.reward > RIGHT for tried in reply.tried])

    async def _measure(self, i: int) -> tuple[Array, list[tuple[int, ...]]]:
        """Whether the whole chain and those of the menu answer a row, and what the menu says."""
        whole = full(self._model.layers)
        every = (whole, *(chain for chain in self._chains if chain != whole))
        right = dict(zip(every, await self._try(every, i), strict=True))
        most = min(self._options.short, self._options.max_tokens)
        short = GenerationRequest(self._rows[i].prompt, most, GREEDY)
        asked = [replace(short, chain=chain) for chain in self._chains]
        replies: list[GenerationReply] = await self._ask(i, asked)
        answers = [tuple(token.id for token in reply.tokens) for reply in replies]
        return np.array([right[c] for c in (whole, *self._chains)], bool), answers

    def _request(self, i: int, **said: Any) -> SearchRequest:
        row = self._rows[i]
        return SearchRequest(row.prompt, row.verifier, self._options.max_tokens, **said)

    async def _ask(self, i: int, requests: Sequence[Any]) -> list[Any]:
        try:
            return (await self._plane.predict(self._version.ref, requests, self._terms)).replies
        except InvalidInput as e:
            raise InvalidInput(f"row {i + 1}: {e}") from e

    def _ids(self, i: int) -> tuple[int, ...]:
        return self._model.continuation(GenerationRequest(self._rows[i].prompt, 1)).ids

    async def _each(
        self, rows: Sequence[int], work: Callable[[int], Awaitable[T]], size: int
    ) -> AsyncGenerator[tuple[int, T], None]:
        """Rows and what ``work`` makes of them, as they end; it runs ``size`` chains at a time."""
        most = max(1, min(self._options.together, AT_ONCE // size))
        left, running = list(reversed(rows)), dict[asyncio.Future[T], int]()
        try:
            while left or running:
                while left and len(running) < most:
                    i = left.pop()
                    running[asyncio.ensure_future(work(i))] = i
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for one in done:
                    yield running.pop(one), one.result()
        finally:
            for one in running:
                one.cancel()
            await asyncio.gather(*running, return_exceptions=True)
