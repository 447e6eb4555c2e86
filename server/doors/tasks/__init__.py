"""Tensors of the Open Inference Protocol to typed requests and back, one module for each task.

A module is named after its task and holds its ``CODEC``; models and families are unknown here.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foretoken.models.tasks import Task
    from foretoken.server.doors.tasks.base import Codec

__all__ = ["codec"]


@cache
def codec(task: Task) -> Codec:
    """The codec of a task; there is one object for each."""
    found: Codec = import_module(f"{__name__}.{task}").CODEC
    return found
