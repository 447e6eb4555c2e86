"""Held-out problems of known difficulty, at which a model is neither always right nor never."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from foretoken.models.cola.presets import PRESETS
from foretoken.models.cola.tasks import Maker, held_out_problems

__all__ = ["Level", "Problem", "chosen", "drawn", "interleaved", "levels", "mislabelled"]

SAMPLE = 2000  # problems by which a level's answers are counted
GUESSED = 0.1  # a share that guessing answers, above which many chains are right by chance
WITHIN = (0.3, 0.7)  # share that the plain model is to answer
EVER = (0.03, 0.97)  # and of each level, beyond which it says nothing
ABOVE = 2  # times as often as guessing that it is right, or it has not learned the level


@dataclass(frozen=True)
class Problem:
    """A prompt and its answer, of a level by name."""

    level: str
    prompt: str
    answer: str


@dataclass(frozen=True)
class Level:
    """Problems of one difficulty.

    Args:
        name: of it.
        maker: of its problems.
        length: tokens of the longest problem of its kind.
        answers: different ones among ``SAMPLE`` problems, held out or not.
        guess: share of them that guessing answers: the most frequent answer or, where the answer
            always stands in the prompt, one of its letters.
    """

    name: str
    maker: Maker
    length: int
    answers: int
    guess: float


def levels(preset: str) -> tuple[Level, ...]:
    """All levels of what a preset trains on."""
    found = []
    for part in PRESETS[preset].parts:
        for name, maker in part.maker.levels():
            generator = torch.Generator().manual_seed(0)
            texts = maker.draw(SAMPLE, part.maker.length, generator).texts()
            answers = {answer for _, answer in texts}
            found.append(Level(name, maker, part.maker.length, len(answers), _guess(texts)))
    return tuple(found)


def _guess(texts: Sequence[tuple[str, str]]) -> float:
    counted = Counter(answer for _, answer in texts)
    frequent = max(counted.values()) / len(texts)
    if not all(answer in prompt for prompt, answer in texts):
        return frequent
    letters = [len({c for c in prompt if c.isalpha()}) for prompt, _ in texts]
    return max(frequent, sum(1 / max(1, n) for n in letters) / len(texts))


def drawn(level: Level, count: int, seed: int) -> list[Problem]:
    """Different held-out problems of a level, ``count`` of them unless it has fewer."""
    generator = torch.Generator().manual_seed(seed)
    texts = held_out_problems(level.maker, 2 * count, level.length, generator).texts()
    return [Problem(level.name, *text) for text in dict.fromkeys(texts)][:count]


def chosen(every: Sequence[Level], accuracy: Mapping[str, float]) -> list[Level]:
    """Levels on which the plain model is right as often as is to be searched.

    Those that are guessed easily are left out, and those that it answers always, never, or no
    better than by guessing; then the hardest or the easiest ones, until the mean is within bounds.

    Args:
        every: all of them.
        accuracy: of the plain model, by level.
    """
    left = [
        level
        for level in every
        if level.guess <= GUESSED
        and max(EVER[0], ABOVE * level.guess) <= accuracy[level.name] <= EVER[1]
    ]
    left.sort(key=lambda level: accuracy[level.name])
    while left:
        mean = sum(accuracy[level.name] for level in left) / len(left)
        if WITHIN[0] <= mean <= WITHIN[1]:
            break
        del left[0 if mean < WITHIN[0] else -1]
    names = {level.name for level in left}
    return [level for level in every if level.name in names]


def interleaved(by_level: Sequence[Sequence[Problem]], seed: int) -> list[Problem]:
    """All of them in random order, so that any first part of them is of all levels."""
    mixed = [problem for problems in by_level for problem in problems]
    random.Random(seed).shuffle(mixed)
    return mixed


def mislabelled(some: Sequence[Problem], among: Sequence[Problem]) -> list[Problem]:
    """Each of some problems with the answer of another one of its level, as plausible as its own.

    Where its own stands in the prompt, as a letter does that hops lead to, so does the other.
    Those for which there is none are left out.
    """
    found = []
    for i, problem in enumerate(some):
        seen = problem.answer in problem.prompt
        for other in (*among[i + 1 :], *among[:i]):
            plausible = (other.answer in problem.prompt) == seen
            if other.level == problem.level and other.answer != problem.answer and plausible:
                found.append(replace(problem, answer=other.answer))
                break
    return found
