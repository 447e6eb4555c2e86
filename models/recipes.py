"""What a family offers on the command line beside serving: training recipes and importers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from foretoken.errors import InvalidInput


@dataclass(frozen=True)
class Option:
    """A named option with its default; ``choices`` (if any) are all that is accepted."""

    name: str
    default: str | int | float
    help: str
    choices: tuple[str, ...] = ()

    def parse(self, text: str) -> str | int | float:
        """Convert ``text`` to the default's type.

        Raises:
            InvalidInput: if it is no such number or not among the choices.
        """
        if self.choices and text not in self.choices:
            accepted = ", ".join(self.choices)
            raise InvalidInput(f"option {self.name}={text!r}: accepted are {accepted}")
        try:
            return type(self.default)(text)
        except ValueError as e:
            kind = type(self.default).__name__
            raise InvalidInput(f"option {self.name}={text!r} is not a {kind}") from e


def parse(options: Sequence[Option], given: Mapping[str, str]) -> dict[str, str | int | float]:
    """All ``options`` by name, those ``given`` converted and checked, the others by default.

    Raises:
        InvalidInput: for a name that is not among the options, or an unacceptable value.
    """
    known = {o.name: o for o in options}
    if unknown := sorted(set(given) - set(known)):
        accepted = ", ".join(known) or "none"
        raise InvalidInput(f"unknown options {', '.join(unknown)}; accepted are {accepted}")
    return {n: o.parse(given[n]) if n in given else o.default for n, o in known.items()}


class Progress(Protocol):
    """Receives the fraction done in [0, 1] and the latest figures of a long run."""

    def __call__(self, done: float, figures: Mapping[str, float], /) -> None: ...


@dataclass(frozen=True)
class Recipe:
    """How a family is trained here.

    Args:
        presets: name -> one line that says what machine and time it is for.
        options: beyond the preset, such as seed or prior.
        default: the preset that is taken where none is named; "" if one has to be.
        run: ``(preset, options, out, progress)`` writes a registrable artefact folder to ``out``
            and resumes from it if it holds a checkpoint.
    """

    presets: Mapping[str, str]
    options: tuple[Option, ...]
    run: Callable[[str, Mapping[str, Any], Path, Progress | None], None]
    default: str = ""


@dataclass(frozen=True)
class Importer:
    """Turns a file or folder of a foreign format into an artefact folder.

    Args:
        summary: what it reads, in one line.
        options: accepted options.
        run: ``(source, options, out)`` writes the artefact folder ``out``.
    """

    summary: str
    options: tuple[Option, ...]
    run: Callable[[Path, Mapping[str, Any], Path], None]
