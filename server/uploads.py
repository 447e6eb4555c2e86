"""Files of a version on their way in from the network: announced, bounded, hashed, then handed on.

Nothing is written before all that was announced is found acceptable, never a byte more than that,
and never under a name of the caller's.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from foretoken.errors import DataLoss, FailedPrecondition, InvalidInput, Unavailable
from foretoken.models.artefact import DESCRIPTION, WEIGHTS
from foretoken.server.registry.manifest import media_type
from foretoken.server.registry.names import check_file_name

__all__ = ["Announced", "Upload", "check_announced"]

MOST_FILES = 256
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Announced:
    """A file that is to come: flat name, bytes, ``sha256:<hex>``."""

    name: str
    size: int
    digest: str


def check_announced(files: Sequence[Announced], limit: int) -> None:
    """Refuse what would not be registered, before any of it is sent.

    Args:
        files: in the order in which they will come.
        limit: most bytes of all of them.

    Raises:
        InvalidInput: for a name that is not a flat name of an artefact's file or comes twice, a
            size or digest that is none, no weights, too many files or too many bytes.
    """
    if len(files) > MOST_FILES:
        raise InvalidInput(f"{len(files)} files; an artefact has at most {MOST_FILES}")
    names = [file.name for file in files]
    for file in files:
        media_type(check_file_name(file.name))
        if file.name == DESCRIPTION or names.count(file.name) > 1:
            raise InvalidInput(f"{file.name}: comes twice, or is not among the files at all")
        if file.size < 0 or not _DIGEST.fullmatch(file.digest):
            raise InvalidInput(
                f"{file.name}: needs its size in bytes and its digest as sha256:<64 hex digits>"
            )
    if WEIGHTS not in names:
        raise InvalidInput(f"the artefact has no {WEIGHTS}; train or import the model first")
    if (total := sum(file.size for file in files)) > limit:
        raise InvalidInput(
            f"{total} bytes; this server takes at most {limit} (its setting upload_bytes)"
        )


class Upload:
    """Receives files, one after the other; its methods block, and may be called by any thread.

    Args:
        files: that were announced and checked.
        place: gives a new path for each of them.
    """

    def __init__(self, files: Sequence[Announced], place: Callable[[], Path]) -> None:
        self._due = list(reversed(files))
        self._place = place
        self._turn = threading.Lock()
        self._paths: dict[str, Path] = {}
        self._file: IO[bytes] | None = None  # that is being written, of ``_now``
        self._now: Announced | None = None
        self._hash = hashlib.sha256()
        self._left = 0  # bytes until the end of that file
        self._over = False

    def write(self, data: bytes) -> None:
        """Take the next bytes, which may end one file and begin another.

        Raises:
            InvalidInput: if there are more than were announced.
            DataLoss: if a file that is complete now has another digest.
            Unavailable: if the disk cannot take them.
        """
        rest = memoryview(data)
        with self._turn, _disk():
            self._expect_open()
            while rest:
                self._open_next()
                if self._file is None:
                    raise InvalidInput("more bytes than were announced")
                part, rest = rest[: self._left], rest[self._left :]
                self._file.write(part)
                self._hash.update(part)
                self._left -= len(part)
                if not self._left:
                    self._finish_file()

    def finish(self) -> dict[str, Path]:
        """Where each file lies, now that all have come.

        Raises:
            InvalidInput: if bytes are missing.
            DataLoss: if an empty file was not to be empty.
            Unavailable: if the disk cannot take them.
        """
        with self._turn, _disk():
            self._expect_open()
            self._open_next()
            if self._now is not None:
                raise InvalidInput(
                    f"the upload ends {self._left} bytes before the end of {self._now.name}"
                )
            return dict(self._paths)

    def discard(self) -> None:
        """Remove whatever has been written; nothing more is taken afterwards."""
        with self._turn:
            self._over = True
            if self._file is not None:
                self._file.close()
            for path in self._paths.values():
                path.unlink(missing_ok=True)

    def _expect_open(self) -> None:
        if self._over:
            raise FailedPrecondition("this upload has been broken off")

    def _open_next(self) -> None:
        """Open the next file that has bytes to come; empty ones are complete at once."""
        while self._file is None and self._due:
            self._now = self._due.pop()
            self._left, self._hash = self._now.size, hashlib.sha256()
            path = self._paths[self._now.name] = self._place()
            self._file = path.open("xb")
            if not self._left:
                self._finish_file()

    def _finish_file(self) -> None:
        assert self._file is not None
        assert self._now is not None
        self._file.close()
        found = f"sha256:{self._hash.hexdigest()}"
        if found != self._now.digest:
            raise DataLoss(
                f"{self._now.name}: its bytes hash to {found}, not {self._now.digest} as "
                "announced; send it again"
            )
        self._file, self._now = None, None


@contextmanager
def _disk() -> Iterator[None]:
    """Say of what the disk refuses that it was the disk."""
    try:
        yield
    except OSError as e:
        raise Unavailable(f"the upload cannot be kept: {e.strerror}") from e
