"""Sessions that commands step: of a server, or of this process; commands cannot tell which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from foretoken.cli.files import Floats
from foretoken.cli.remote import Remote, client_of
from foretoken.errors import InvalidInput, NotFound, Unavailable

__all__ = ["Asked", "Stepped", "bytes_of", "opened", "resumed"]

Outputs = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Asked:
    """What the options ask for.

    Args:
        model: "" to resume with the state's own.
        resume: a digest, or the bytes of a snapshot.
        durable: see ``foretoken.Client.stream``, as for the next.
        deterministic: see there.
        options: of the model's family.
    """

    model: str
    resume: str | bytes | None = None
    durable: bool = False
    deterministic: bool = False
    options: Mapping[str, float | str] = field(default_factory=dict)


class Stepped(Protocol):
    """An open session.

    Attributes:
        step: observations so far.
        ref: NAME:VERSION of what answers.
        width: numbers of an observation, D.
        options: of the model's family, all of them.
    """

    @property
    def step(self) -> int: ...
    @property
    def ref(self) -> str: ...
    @property
    def width(self) -> int: ...
    @property
    def options(self) -> Mapping[str, float | str]: ...

    def push(self, values: Floats) -> Outputs:
        """Outputs, each [T, ...], after observations [T, D]."""

    def snapshot(self, *, keep: bool) -> tuple[str | None, bytes]:
        """The digest under which the state is kept, and the state's bytes."""


def resumed(given: str | None) -> str | bytes | None:
    """What an option says to resume: the bytes of a file of that name, else a digest.

    Raises:
        InvalidInput, NotFound, Unavailable: if it is neither, or the file cannot be read.
    """
    if given is None or given.startswith("snap-"):
        return given
    if not Path(given).is_file():
        raise NotFound(f"no file {given}, and no digest of a snapshot: those begin with snap-")
    return bytes_of(Path(given))


def bytes_of(path: Path) -> bytes:
    """A snapshot in a file.

    Raises:
        NotFound, InvalidInput, Unavailable: if there is none, or it cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as e:
        raise NotFound(f"no file {path}") from e
    except OSError as e:
        raise Unavailable(f"cannot read {path}: {e.strerror or e}") from e
    if not data:
        raise InvalidInput(f"{path} is empty, and no snapshot")
    return data


@contextmanager
def opened(asked: Asked, server: Remote | None, data_dir: Path | None) -> Iterator[Stepped]:
    """A session by a server, or else by this process, ended with the block."""
    client = client_of(server, data_dir)
    if client is not None:
        how: dict[str, Any] = {"durable": asked.durable, "deterministic": asked.deterministic}
        how.update(asked.options)
        with client, client.stream(asked.model, asked.resume, **how) as session:
            yield _There(session)
        return
    from foretoken.server.app import open_plane  # noqa: PLC0415 - imports the engine
    from foretoken.server.sessions.session import SessionOptions  # noqa: PLC0415
    from foretoken.server.settings import load_settings  # noqa: PLC0415

    options = SessionOptions(asked.options, asked.deterministic, asked.durable)
    with open_plane(load_settings(data_dir=data_dir)) as local:
        made = local.open_session(asked.model, options, asked.resume)
        try:
            yield _Here(local, made)
        finally:
            local.close_session(made)


class _There:
    def __init__(self, session: Any) -> None:
        self._session = session
        known = session.opened
        self.ref, self.width, self.options = (
            f"{known.model}:{known.version}",
            known.width,
            known.options,
        )

    @property
    def step(self) -> int:
        return int(self._session.step)

    def push(self, values: Floats) -> Outputs:
        found: Outputs = self._session.push(values)
        return found

    def snapshot(self, *, keep: bool) -> tuple[str | None, bytes]:
        taken = self._session.snapshot(include_bytes=True, keep=keep)
        return taken.digest, taken.data


class _Here:
    def __init__(self, local: Any, session: Any) -> None:
        self._local = local
        self._session = session
        self.ref, self.width = session.version.ref, session.width
        self.options = session.options.family

    @property
    def step(self) -> int:
        return int(self._session.step)

    def push(self, values: Floats) -> Outputs:
        found: Outputs = self._local.step(self._session, values).outputs
        return found

    def snapshot(self, *, keep: bool) -> tuple[str | None, bytes]:
        record, data = self._local.snapshot(self._session, keep=keep)
        return (None if record is None else record.id), data
