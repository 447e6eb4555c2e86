"""What a plane answers, and what it asks of requests before it does."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from foretoken.errors import DeadlineExceeded, InvalidInput
from foretoken.models.kinds import Kind, Recurrent
from foretoken.models.tasks import Task, task_of
from foretoken.records import Version
from foretoken.server.terms import Terms

if TYPE_CHECKING:
    from foretoken.server.registry.loaded import Loaded

__all__ = ["Answers", "LoadedVersion", "expect_task", "in_time", "whole", "with_context"]


class Answers(NamedTuple):
    """Replies of one version, in the order of the requests.

    Args:
        replies: one a request.
        version: that answered.
        seconds: that they took.
        hits: of each request, whether its training set had been fitted before; None for models
            that keep no contexts.
    """

    replies: list[Any]
    version: Version
    seconds: float
    hits: tuple[bool | None, ...] = ()


@dataclass(frozen=True)
class LoadedVersion:
    """What is told of a version that is held in memory."""

    version: Version
    task: Task
    nbytes: int


def with_context(request: Any) -> bool:
    """Whether a request names a context."""
    return getattr(request, "context", None) is not None


def expect_task(loaded: Loaded, requests: Sequence[Any]) -> None:
    """Refuse requests of a task that is not the model's.

    Raises:
        InvalidInput: then, or if one is no request.
    """
    for request in requests:
        if (asked := task_of(request)) != loaded.family.task:
            raise InvalidInput(
                f"model {loaded.version.name!r} answers {loaded.family.task} requests, not {asked}"
            )


def whole(loaded: Loaded, requests: Sequence[Any]) -> Sequence[Any]:
    """Requests as a predictor wants them: sequences with their options in full.

    Raises:
        InvalidInput: if options are not acceptable.
    """
    if loaded.family.kind is not Kind.RECURRENT:
        return requests
    options = cast("Recurrent", loaded.predictor).options
    return [replace(each, options=options(each.options)) for each in requests]


def in_time(terms: Terms) -> float:
    """The time now, if that is before the deadline.

    Raises:
        DeadlineExceeded: if it is not.
    """
    now = time.monotonic()
    if terms.deadline <= now:
        raise DeadlineExceeded("the deadline had passed when the request arrived")
    return now
