"""What a server has to itself while it runs: its data dir, its ports and its run folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from foretoken.errors import InvalidInput, Unavailable
from foretoken.server.settings import Settings

__all__ = ["METRICS", "claimed", "raise_file_limit"]

LOCK = "server.lock"
RUN = "run"
METRICS = "metrics"
TRIES = 20  # at a free port that is free on every address of the host


@contextlib.contextmanager
def claimed(settings: Settings) -> Iterator[tuple[Settings, Path]]:
    """Have the data dir and the ports for oneself for the length of the block.

    Yields:
        The settings with the ports as numbers, and the run folder: new, and gone afterwards. It
        holds the workers' sockets, and the folder ``METRICS`` for what they have counted. No other
        run had one of that name: workers of a server that was killed may still be ending.

    Raises:
        InvalidInput: if the data dir is not a folder, or the host has no address here.
        Unavailable: if another server has the data dir or a port, or the folder cannot be written.
    """
    with contextlib.ExitStack() as held:
        _hold_data_dir(settings.data_dir, held)
        if settings.grpc_port == settings.http_port != 0:
            raise InvalidInput(f"grpc_port and http_port are both {settings.grpc_port}")
        ports = {
            name: _reserve(settings.host, getattr(settings, name), held)
            for name in ("grpc_port", "http_port")
        }
        runs = settings.data_dir.absolute() / RUN
        _remove(runs)  # what a server left that was killed
        held.callback(_remove, runs)
        try:
            runs.mkdir(mode=0o700)
            run = Path(tempfile.mkdtemp(prefix="", dir=runs))
            (run / METRICS).mkdir()
        except OSError as e:
            raise Unavailable(f"cannot make the run folder {runs}: {e.strerror}") from e
        yield settings.model_copy(update=ports), run


def raise_file_limit() -> int:
    """Let this process and its children open as many files as they may; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # some systems refuse "unlimited"
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _hold_data_dir(data_dir: Path, held: contextlib.ExitStack) -> None:
    if data_dir.exists() and not data_dir.is_dir():
        raise InvalidInput(f"{data_dir} is not a folder; name the data dir's folder")
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = os.open(data_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as e:
        raise Unavailable(f"the data dir {data_dir} cannot be used: {e.strerror}") from e
    held.callback(os.close, lock)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        holder = os.read(lock, 32).decode("ascii", "replace").strip()
        raise Unavailable(
            f"another server (process {holder or 'unknown'}) has the data dir {data_dir}; "
            f"stop it, or give another --data-dir"
        ) from e
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())


def _reserve(host: str, port: int, held: contextlib.ExitStack) -> int:
    """Reserve ``port``, or with 0 a free one, on every address of ``host``."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as e:
        raise InvalidInput(f"host {host!r} is not an address of this machine: {e}") from e
    addresses = sorted({(int(family), str(address[0])) for family, _, _, _, address in found})
    for tries_left in reversed(range(1 if port else TRIES)):
        with contextlib.ExitStack() as now:
            try:
                number = _bind_all(addresses, port, now)
            except OSError as e:
                if not tries_left:
                    raise Unavailable(
                        f"cannot listen on {host}:{port}: {e.strerror}; "
                        f"stop what has the port, or give another"
                    ) from e
            else:
                held.push(now.pop_all())
                return number
    raise AssertionError


def _bind_all(addresses: list[tuple[int, str]], port: int, held: contextlib.ExitStack) -> int:
    absent: OSError | None = None
    bound = 0
    for family, address in addresses:
        try:
            port = _bind(family, address, port, held)
            bound += 1
        except OSError as e:  # "localhost" may have a name for an IPv6 that is switched off
            if e.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise
            absent = e
    if not bound and absent is not None:
        raise absent
    return port


def _bind(family: int, address: str, port: int, held: contextlib.ExitStack) -> int:
    """Bind without listening, so that no process but those of this server can have the port.

    Workers share it by SO_REUSEPORT, which would let in a second server of the same user too. So
    the socket is bound without it, which fails where anyone has the port, and gets it afterwards.
    SO_REUSEADDR is for connections that have just ended; kept, it would let in others.
    """
    probe = socket.socket(family, socket.SOCK_STREAM)
    held.callback(probe.close)
    if family == socket.AF_INET6 and address != "::":  # that stands for IPv4 too
        probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    probe.bind((address, port))
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    number: int = probe.getsockname()[1]
    return number


def _remove(run: Path) -> None:
    shutil.rmtree(run, ignore_errors=True)
