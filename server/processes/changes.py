"""What is asked of a running server by SIGHUP: settings read again, and told apart by effect."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from foretoken.errors import ForetokenError, InvalidInput
from foretoken.server.log import Log
from foretoken.server.settings import Settings

__all__ = ["Asked"]

FIXED = ("data_dir", "host", "grpc_port", "http_port")  # what the server has claimed
FILES = ("tls_cert", "tls_key", "tls_client_ca")


class Asked:
    """The settings as they were asked for, and whether others are asked for now.

    Args:
        settings: that the server was started with, ports perhaps 0.
        read: reads them again.

    Raises:
        InvalidInput: if a file that they name cannot be read.
    """

    def __init__(self, settings: Settings, read: Callable[[], Settings]) -> None:
        self._settings = settings
        self._read = read
        self._proven = settings
        self._files = _digests(settings)
        self._from_terminal = os.isatty(0)

    def terminal_gone(self) -> bool:
        """Whether the terminal of the server's start is closed: then SIGHUP means to end."""
        return self._from_terminal and not os.isatty(0)

    def renewed(self, serving: Settings, log: Log) -> Settings | None:
        """The settings to serve with from now on, or None to go on as before.

        The log says what changed, what would need a restart, and why new settings are refused.
        """
        try:
            settings = self._read()
            files = _digests(settings)
        except ForetokenError as e:
            log.event("settings_refused", "error", reason=str(e), kept="the settings before")
            return None
        changed = {
            name: getattr(settings, name)
            for name in Settings.model_fields
            if getattr(settings, name) != getattr(self._settings, name)
        }
        restart = sorted(changed.keys() & set(FIXED))
        now = {name: value for name, value in changed.items() if name not in FIXED}
        renewed = sorted(name for name in files if files[name] != self._files.get(name))
        self._files = files  # the doors take up renewed ones by themselves, at the next connection
        log.event("settings_read", changed=now, renewed_files=renewed, need_restart=restart)
        if not now:
            return None
        self._settings = self._settings.model_copy(update=now)
        return serving.model_copy(update=now)

    def proven(self) -> None:
        """A worker serves with the last settings."""
        self._proven = self._settings

    def refused(self) -> None:
        """The last settings do not work: those before are in force."""
        self._settings = self._proven


def _digests(settings: Settings) -> dict[str, str]:
    paths: dict[str, Path | None] = {name: getattr(settings, name) for name in FILES}
    digests = {}
    for name, path in paths.items():
        if path is not None:
            try:
                digests[name] = hashlib.sha256(path.read_bytes()).hexdigest()
            except OSError as e:
                raise InvalidInput(f"cannot read {name} {path}: {e.strerror}") from e
    return digests
