"""Sequences as messages of ``foretoken.v1``, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from foretoken.errors import ForetokenError, InvalidInput, Overloaded
from foretoken.models.contract import Array
from foretoken.models.tasks import SequenceReply
from foretoken.proto import sequences as wire
from foretoken.proto import tabular
from foretoken.records import SnapshotRecord
from foretoken.server.doors.status import describe
from foretoken.server.doors.tables import option_value
from foretoken.server.doors.telling import Tell
from foretoken.server.sessions.room import recurrent
from foretoken.server.sessions.session import Continue, Resume, Session, SessionOptions, Want

__all__ = [
    "observations",
    "opened",
    "options_of",
    "outputs",
    "refusal",
    "resume_of",
    "snapshot",
    "unkept",
    "want_of",
]

_WANTS: tuple[Want, ...] = ("every", "last", "nothing")
# NumPy finds out a dtype's name anew each time it is asked.
_NAMES: Mapping[Any, str] = {np.dtype(n): n for n in ("float32", "float64", "int32", "int64")}


# -- from messages --------------------------------------------------------------------------------


def observations(said: wire.Observe, most: int) -> Array:
    """What was observed, float64 [T, D].

    Args:
        said: as received.
        most: bound on T, the setting ``request_tokens``.

    Raises:
        InvalidInput: if the bytes are not those of T observations, or T is beyond the bound.
    """
    steps, size = said.steps or 1, len(said.values)
    if steps > most:
        raise InvalidInput(
            f"{steps} observations of one message are more than this server takes, {most} "
            "(request_tokens); send them in several"
        )
    if steps < 1 or size == 0 or size % (8 * steps):
        raise InvalidInput(
            f"values have {size} bytes; {steps} observations of D numbers are 8 * {steps} * D "
            "bytes of float64"
        )
    return np.frombuffer(said.values, "<f8").reshape(steps, -1)


def want_of(said: wire.Observe) -> Want:
    """Which outputs are asked for.

    Raises:
        InvalidInput: if that is none of the choices.
    """
    if not 0 <= said.want < len(_WANTS):
        raise InvalidInput(f"want is one of {', '.join(wire.Want.keys())}, not {said.want}")
    return _WANTS[said.want]


def options_of(said: wire.SequenceOpen) -> SessionOptions:
    """How a session is to be stepped and kept.

    Raises:
        InvalidInput: if an option has no value, or checkpoints are less than a step apart.
    """
    if said.checkpoint_every < 0:
        raise InvalidInput(
            f"checkpoint_every is {said.checkpoint_every}; give 1 or more, or 0 for the default"
        )
    family = {name: option_value(name, option) for name, option in said.options.items()}
    return SessionOptions(family, said.deterministic, said.durable, said.checkpoint_every)


def resume_of(said: wire.SequenceOpen) -> Resume | None:
    """What to go on from, if anything.

    Raises:
        InvalidInput: if that is empty.
    """
    kind = said.WhichOneof("resume")
    if kind is None:
        return None
    given: str | bytes = getattr(said, kind)
    if not given:
        raise InvalidInput(f"resume.{kind} is empty")
    return Continue(said.id) if kind == "id" else given


# -- to messages ----------------------------------------------------------------------------------


def opened(session: Session) -> wire.Opened:
    """A session that begins, or goes on."""
    state = recurrent(session.loaded).start()
    options = {
        name: tabular.Option(text=value)
        if isinstance(value, str)
        else tabular.Option(number=float(value))
        for name, value in session.options.family.items()
    }
    return wire.Opened(
        id=session.id,
        model=session.version.name,
        version=session.version.number,
        step=session.step,
        durable_step=session.durable_step,
        state_nbytes=sum(array.nbytes for array in state.values()),
        options=options,
        width=session.width,
    )


def outputs(number: int, step: int, durable_step: int, reply: SequenceReply) -> Any:
    """The response to observations.

    Args:
        number: of the session.
        step: observations so far.
        durable_step: of those, the ones that are safe.
        reply: by name, each [T, ...].
    """
    response = wire.SequenceResponse(session=number)
    said = response.outputs
    said.step = step
    said.durable_step = durable_step
    add = said.outputs.add
    for name, array in reply.outputs.items():
        dtype = _NAMES.get(array.dtype) or array.dtype.name
        add(name=name, dtype=dtype, shape=array.shape, data=array.tobytes())
    return response


def refusal(
    number: int, error: ForetokenError, tell: Tell, resume: str = ""
) -> wire.SequenceResponse:
    """The response to a message that is not answered.

    Args:
        number: of the session.
        error: why.
        tell: makes its text fit for callers.
        resume: id by which the session can be opened again, if it has left this worker.
    """
    said = wire.Refusal(
        error=type(error).__name__,
        message=describe(error, tell),
        retry_after=error.retry_after if isinstance(error, Overloaded) else 0.0,
        resume=resume,
    )
    return wire.SequenceResponse(session=number, refusal=said)


def snapshot(record: SnapshotRecord, data: bytes = b"") -> wire.Snapshot:
    """A snapshot that is kept; with its bytes if asked for."""
    return wire.Snapshot(
        digest=record.id,
        model=record.model,
        version=record.version,
        step=record.step,
        nbytes=record.nbytes,
        created=record.created.timestamp(),
        used=record.used.timestamp(),
        expires=None if record.expires is None else record.expires.timestamp(),
        data=data,
    )


def unkept(session: Session, step: int, data: bytes) -> wire.Snapshot:
    """A snapshot that only its taker keeps."""
    version = session.version
    return wire.Snapshot(
        model=version.name, version=version.number, step=step, nbytes=len(data), data=data
    )
