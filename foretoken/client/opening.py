"""How a session begins: what is sent to open it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from foretoken.client.operations import message
from foretoken.client.snapshots import Kept, Snapshot, digest_of
from foretoken.client.tabular import option
from foretoken.errors import InvalidInput
from foretoken.proto import sequences as wire

__all__ = ["Resumed", "opening"]

Resumed: TypeAlias = Kept | bytes  # what a session goes on from

SESSION = "ses-"  # what the id of a session begins with


def opening(
    model: str | None,
    resume: Resumed | None,
    durable: bool,
    deterministic: bool,
    checkpoint_every: int,
    key: str | None,
    options: Mapping[str, Any],
) -> wire.SequenceOpen:
    """The message that opens a session; arguments are those of ``Client.stream``.

    Raises:
        InvalidInput: if they do not go together, naming what is not acceptable.
    """
    if not model and resume is None:
        raise InvalidInput("give a model, or what to resume")
    return message(
        wire.SequenceOpen,
        model=model,
        options={name: option(name, _plain(name, value)) for name, value in options.items()},
        deterministic=deterministic,
        durable=durable,
        checkpoint_every=checkpoint_every,
        key=key,
        **_resumed(resume),
    )


def _resumed(resume: Resumed | None) -> dict[str, Any]:
    if resume is None:
        return {}
    if isinstance(resume, Snapshot) and resume.digest is None:
        resume = resume.data or b""
    if isinstance(resume, bytes | bytearray | memoryview):
        if not len(resume):
            raise InvalidInput("the snapshot to resume has no bytes")
        return {"snapshot": bytes(resume)}
    if isinstance(resume, str) and resume.startswith(SESSION):
        return {"id": resume}
    return {"digest": digest_of(resume)}


def _plain(name: str, value: Any) -> Any:
    """An option's value; a list of numbers becomes the text that families read."""
    if isinstance(value, str | bool | int | float | np.number | np.bool_):
        return value
    try:
        return ",".join(f"{float(each):.12g}" for each in value)
    except (TypeError, ValueError) as e:
        raise InvalidInput(
            f"option {name!r} is a number, a text or a list of numbers, not {value!r}"
        ) from e
