"""The typed requests and replies of the six tasks; doors, CLI and estimators speak these.

A request checks itself when it is made, so whatever reaches a family is well formed; limits that
depend on the model (rows, steps, tokens) are the family's to check. The reply to a curve is a
``foretoken.posterior.Posterior``, which clients build as well.
"""

from __future__ import annotations

from enum import StrEnum

from foretoken.errors import InvalidInput
from foretoken.models.depth.requests import SearchRequest
from foretoken.models.tasks.curve import HORIZON, CurveRequest, following
from foretoken.models.tasks.generation import (
    LOGPROBS,
    STOPS,
    GenerationReply,
    GenerationRequest,
    Policy,
    ScoreReply,
    ScoreRequest,
    Token,
)
from foretoken.models.tasks.graph import GraphReply, GraphRequest
from foretoken.models.tasks.sequence import SequenceReply, SequenceRequest
from foretoken.models.tasks.tabular import TabularReply, TabularRequest
from foretoken.models.tasks.text import TextReply, TextRequest

__all__ = [
    "HORIZON",
    "LOGPROBS",
    "STOPS",
    "CurveRequest",
    "GenerationReply",
    "GenerationRequest",
    "GraphReply",
    "GraphRequest",
    "Policy",
    "ScoreReply",
    "ScoreRequest",
    "SequenceReply",
    "SequenceRequest",
    "TabularReply",
    "TabularRequest",
    "Task",
    "TextReply",
    "TextRequest",
    "Token",
    "following",
    "task_of",
]


class Task(StrEnum):
    """Which requests a family answers."""

    TABULAR = "tabular"
    CURVE = "curve"
    TEXT = "text"
    GRAPH = "graph"
    SEQUENCE = "sequence"
    GENERATION = "generation"


_TASKS = {
    TabularRequest: Task.TABULAR,
    CurveRequest: Task.CURVE,
    TextRequest: Task.TEXT,
    GraphRequest: Task.GRAPH,
    SequenceRequest: Task.SEQUENCE,
    GenerationRequest: Task.GENERATION,
    ScoreRequest: Task.GENERATION,
    SearchRequest: Task.GENERATION,
}


def task_of(request: object) -> Task:
    """The task that a request belongs to.

    Raises:
        InvalidInput: if it is no request.
    """
    if type(request) not in _TASKS:
        raise InvalidInput(f"{type(request).__name__} is not a request of any task")
    return _TASKS[type(request)]
