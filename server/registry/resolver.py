"""From a reference to a version, at the price of a dictionary look-up while nothing changes."""

from __future__ import annotations

import threading

from foretoken.errors import NotFound
from foretoken.server.registry import aliases
from foretoken.server.registry.lookup import alias_of, ready_version
from foretoken.server.registry.names import Ref
from foretoken.server.registry.records import Alias, Version
from foretoken.server.registry.sqlite import Database

__all__ = ["Resolver"]

_LIMIT = 4096  # remembered references; more than that and it begins anew


class Resolver:
    """Resolves references, remembering answers until anybody commits anything.

    An answer is never older than the call: the catalogue's state number is read first, and what
    was learnt under another number is forgotten.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._state = -1
        self._aliases: dict[Ref, Alias] = {}
        self._versions: dict[Ref, Version] = {}

    def resolve(self, ref: Ref, key: str | bytes | None) -> Version:
        """The READY version; errors as for ``Registry.resolve``."""
        while True:
            state = self._begin()
            try:
                return self._resolve(ref, key, state)
            except NotFound:
                # An alias read before a move may lead to a version deleted after it: look again.
                if self._database.state() == state:
                    raise

    def _begin(self) -> int:
        state = self._database.state()
        with self._lock:
            if state != self._state or len(self._versions) + len(self._aliases) > _LIMIT:
                self._aliases.clear()
                self._versions.clear()
                self._state = state
        return state

    def _resolve(self, ref: Ref, key: str | bytes | None, state: int) -> Version:
        if ref.alias is not None:
            alias = self._aliases.get(ref) or self._read_alias(ref, state)
            ref = Ref(ref.name, version=aliases.pick(alias, key))
        return self._versions.get(ref) or self._read_version(ref, state)

    def _read_alias(self, ref: Ref, state: int) -> Alias:
        with self._database.read() as connection:
            alias = alias_of(connection, ref)
        with self._lock:
            if state == self._state:
                self._aliases[ref] = alias
        return alias

    def _read_version(self, ref: Ref, state: int) -> Version:
        assert ref.version is not None
        with self._database.read() as connection:
            version = ready_version(connection, ref.name, ref.version)
        with self._lock:
            if state == self._state:
                self._versions[ref] = version
        return version
