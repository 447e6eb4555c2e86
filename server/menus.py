"""Menus of chains: searches over labelled rows become a child version with a menu.

A menu is chosen on one part of the rows and measured on the other, which the choosing never sees.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from foretoken.errors import InternalError
from foretoken.models.depth.chains import Chain
from foretoken.models.depth.requests import SearchOptions, SearchReply
from foretoken.models.depth.verifiers import Exact, Matches
from foretoken.server.registry.records import Version
from foretoken.server.terms import Terms

if TYPE_CHECKING:
    from foretoken.server.admin import Admin
    from foretoken.server.plane import Plane

__all__ = ["LabelledRow", "MenuOptions", "MenuProgress", "MenuStored", "build_menu", "read_rows"]


@dataclass(frozen=True)
class LabelledRow:
    """A prompt, and what says which of its answers are right."""

    prompt: str
    verifier: Exact | Matches


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
        chooser: whether one is fitted; it is kept if it beats the menu's first chain.
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
    raise InternalError("not here yet")


async def build_menu(
    plane: Plane,
    admin: Admin,
    model: str,
    rows: Sequence[LabelledRow],
    options: MenuOptions | None = None,
    terms: Terms = Terms(),  # noqa: B008  (frozen)
) -> AsyncIterator[MenuProgress | MenuStored]:
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
    raise InternalError("not here yet")
    yield MenuProgress("search", 0, 0)
