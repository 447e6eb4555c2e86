"""What a plane answers, and what it asks of requests before it does."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, NamedTuple

from foretoken.errors import DeadlineExceeded
from foretoken.models.tasks import TabularRequest, Task
from foretoken.records import Version
from foretoken.server.terms import Terms

__all__ = ["Answers", "LoadedVersion", "in_time", "with_context"]


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
    return isinstance(request, TabularRequest) and request.context is not None


def in_time(terms: Terms) -> float:
    """The time now, if that is before the deadline.

    Raises:
        DeadlineExceeded: if it is not.
    """
    now = time.monotonic()
    if terms.deadline <= now:
        raise DeadlineExceeded("the deadline had passed when the request arrived")
    return now
