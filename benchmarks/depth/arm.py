"""One model: what searches find for its problems, right and wrong ones, beside the controls."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.depth.menu import menus
from benchmarks.depth.problems import (
    Level,
    Problem,
    chosen,
    drawn,
    interleaved,
    levels,
    mislabelled,
)
from benchmarks.depth.shares import found_within, histogram, saved, shares, usage
from benchmarks.depth.trying import Tries
from foretoken.models.artefact import Artefact
from foretoken.models.depth.chains import Chain, edited, full
from foretoken.models.depth.requests import SearchOptions, SearchReply
from foretoken.server.local import LocalPlane
from foretoken.server.registry.registry import Registry
from foretoken.server.settings import load_settings

__all__ = ["Amounts", "measured"]

EDITS = 3  # of a random chain, at most
LOOK = 100  # problems of each level by which levels are chosen
STEP = 40  # problems of each level that are drawn at a time
ROUNDS = 25
DRAWS = 50  # of a random chain, per chain that is wanted


@dataclass(frozen=True)
class Amounts:
    """How much is measured.

    Args:
        wrong: problems that the plain model answers wrong and that are searched.
        right: likewise of those that it answers right.
        shuffled: wrong ones that are searched for another problem's answer.
        menu: problems, right and wrong, that menus are chosen and measured on, half and half.
        candidates: chains of which a menu is chosen.
        sizes: of menus.
    """

    wrong: int = 300
    right: int = 150
    shuffled: int = 100
    menu: int = 300
    candidates: int = 128
    sizes: tuple[int, ...] = (1, 10, 100)


def measured(
    folder: Path, name: str, amounts: Amounts, options: SearchOptions, seed: int
) -> dict[str, Any]:
    """All figures of a model.

    Args:
        folder: of its artefact.
        name: that it goes by here.
        amounts: of problems.
        options: of the searches.
        seed: of problems, random chains and searches.
    """
    artefact = Artefact.read(folder)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as data, Registry.open(Path(data) / "d") as registry:
        registry.register(name, artefact)
        with LocalPlane(registry, load_settings(data_dir=Path(data) / "d")) as plane:
            tries = Tries(plane, name, replace(options, seed=seed))
            found = _Arm(artefact, name, tries, amounts, seed).run()
            turns = plane.run(plane.plane.describe(name)).generator
            assert turns is not None
            return {
                "model": {
                    "name": name,
                    "layers": artefact.config["shape"]["layers"],
                    "parameters": artefact.training.get("parameters"),
                    "arm": artefact.training.get("settings", {}).get("arm"),
                },
                "options": asdict(options),
                **found,
                "chains_tried": tries.chains,
                "chains_per_s": tries.chains / tries.seconds,
                "layers_per_s": tries.layers / tries.seconds,
                "seconds": tries.seconds,
                "requests_per_turn": tries.layers / turns.turns,
            }


class _Arm:
    def __init__(
        self, artefact: Artefact, name: str, tries: Tries, amounts: Amounts, seed: int
    ) -> None:
        self._tries, self._amounts, self._seed, self._name = tries, amounts, seed, name
        self._layers: int = artefact.config["shape"]["layers"]
        self._whole = full(self._layers)
        self._preset: str = artefact.training.get("preset", "small")
        self._longest = tries.options.longest or 2 * self._layers

    def run(self) -> dict[str, Any]:
        """Figures of everything."""
        every = levels(self._preset)
        accuracy = self._accuracy(every)
        fit = chosen(every, accuracy)
        self._say(f"levels {', '.join(f'{e.name} {accuracy[e.name]:.0%}' for e in fit)}")
        if not fit:
            raise SystemExit(f"{self._name} answers no level neither always nor never: {accuracy}")
        problems, right = self._drawn(fit)
        wrong_ones = [p for p, ok in zip(problems, right, strict=True) if not ok]
        right_ones = [p for p, ok in zip(problems, right, strict=True) if ok]
        wrong_ones = wrong_ones[: self._amounts.wrong]
        right_ones = right_ones[: self._amounts.right]
        searched = [*wrong_ones, *right_ones]
        replies = self._tries.search(searched, self._counter("searched", len(searched)))
        told = self._told(wrong_ones, right_ones, replies)
        some = problems[: self._amounts.menu]
        known = dict(zip(searched, replies, strict=True))
        self._say("menus")
        sizes, most = self._amounts.sizes, self._amounts.candidates
        return {
            "levels": {
                level.name: {
                    "plain": accuracy[level.name],
                    "answers": level.answers,
                    "guess": level.guess,
                    "used": level in fit,
                }
                for level in every
            },
            "problems": {"drawn": len(problems), "plain": sum(right) / len(right)},
            **told,
            "menus": menus(self._tries, some, known, sizes, most),
        }

    def _accuracy(self, every: Sequence[Level]) -> dict[str, float]:
        found = {}
        for level in every:
            problems = drawn(level, LOOK, self._seed + 1)
            right = self._tries.right(problems, [[self._whole]] * len(problems))
            found[level.name] = sum(ok for (ok,) in right) / len(right)
        return found

    def _drawn(self, fit: Sequence[Level]) -> tuple[list[Problem], list[bool]]:
        """Problems of all levels, as many of each, until enough of them are wrong, and right."""
        looked = {p for level in fit for p in drawn(level, LOOK, self._seed + 1)}
        problems: dict[Problem, None] = {}
        right: list[bool] = []
        for turn in range(ROUNDS):
            new = [drawn(level, STEP, self._seed + 2 + turn) for level in fit]
            more = [p for p in interleaved(new, turn) if p not in looked and p not in problems]
            problems |= dict.fromkeys(more)
            right += [ok for (ok,) in self._tries.right(more, [[self._whole]] * len(more))]
            wrong = len(right) - sum(right)
            if wrong >= self._amounts.wrong and len(right) >= self._amounts.menu:
                break
        self._say(f"{len(right)} problems, {sum(right) / len(right):.1%} right")
        return list(problems), right

    def _told(
        self, wrong: Sequence[Problem], right: Sequence[Problem], replies: Sequence[SearchReply]
    ) -> dict[str, Any]:
        """Shares that searches correct and shorten, and what the controls do."""
        of_wrong, of_right = replies[: len(wrong)], replies[len(wrong) :]
        corrected = [reply.best.reward > 0 for reply in of_wrong]
        shorter = [reply.best.reward > 0 and saved(reply) > 0 for reply in of_right]
        # The whole chain answers these, but a batch of another shape may round differently.
        lengths = [saved(reply) if ok else 0 for reply, ok in zip(of_right, shorter, strict=True)]
        self._say(f"{sum(corrected) / max(1, len(corrected)):.1%} of wrong ones corrected")
        random_wrong, by_then = self._random(wrong, of_wrong, shorten=False)
        random_right, _ = self._random(right, of_right, shorten=True)
        some = wrong[: self._amounts.shuffled]
        others = mislabelled(some, wrong)
        shuffled = self._tries.search(others, self._counter("shuffled", len(others)))
        best = [reply.best.chain for reply, ok in zip(of_wrong, corrected, strict=True) if ok]
        short = [reply.best.chain for reply, ok in zip(of_right, shorter, strict=True) if ok]
        return {
            "corrected": {
                "search": shares(wrong, corrected),
                "random": shares(wrong, random_wrong),
                "shuffled": shares(others, [reply.best.reward > 0 for reply in shuffled]),
                "search_within": found_within(of_wrong),
                "random_within": by_then,
            },
            "shortened": {
                "search": shares(right, shorter),
                "random": shares(right, random_right),
                "layers_saved": sum(lengths) / max(1, len(lengths)),
                "layers_saved_where_shorter": sum(lengths) / max(1, sum(shorter)),
            },
            "chains": {
                "corrected_lengths": histogram(best),
                "shortened_lengths": histogram(short),
                "corrected_usage": usage(best, self._layers),
                "shortened_usage": usage(short, self._layers),
            },
        }

    def _random(
        self, problems: Sequence[Problem], replies: Sequence[SearchReply], *, shorten: bool
    ) -> tuple[list[bool], dict[str, float]]:
        """As many different chains of each problem as its search tried, drawn without looking.

        Returns:
            Whether one of them is right and, with ``shorten``, shorter than the whole; and, by the
            number of chains, the share of problems for which one of those is.
        """
        chains = []
        for i, reply in enumerate(replies):
            rng = random.Random(f"{self._seed}:{i}:{shorten}")
            chains.append(self._draw(len(reply.tried), rng))
        self._say(f"random chains of {len(problems)} problems")
        rights = self._tries.right(problems, chains)
        tried = [
            [
                ok and not (shorten and len(c) >= self._layers)
                for c, ok in zip(own, oks, strict=True)
            ]
            for own, oks in zip(chains, rights, strict=True)
        ]
        return [any(each) for each in tried], found_within(tried)

    def _draw(self, count: int, rng: random.Random) -> list[Chain]:
        found = {self._whole: None}
        for _ in range(DRAWS * count):
            if len(found) == count:
                break
            edits = rng.randint(1, EDITS)
            found[edited(self._whole, edits, self._longest, rng)] = None
        return list(found)

    def _say(self, what: str) -> None:
        print(f"{self._name}: {what}", flush=True)

    def _counter(self, what: str, total: int) -> Callable[[int], None]:
        done = 0

        def count(more: int) -> None:
            nonlocal done
            done += more
            if done % 50 == 0 or done == total:
                self._say(f"{what} {done} of {total}")

        return count
