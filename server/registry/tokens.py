"""Tokens in the catalogue: by the digest of their secret, which itself is never stored."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from foretoken.errors import AlreadyExists, NotFound
from foretoken.server.registry import schema
from foretoken.server.registry.records import Token
from foretoken.server.registry.sqlite import Database

__all__ = ["Tokens"]

_T = schema.tokens.c


class Tokens:
    """The tokens of a catalogue; those that are revoked stay, for their names stand in histories.

    Args:
        database: the catalogue.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        name: str,
        digest: str,
        scopes: Sequence[str],
        *,
        tenant: str | None = None,
        rate: float | None = None,
        burst: int | None = None,
        expires: datetime | None = None,
        actor: str = "local",
    ) -> Token:
        """Add a token; the arguments are ``Token``'s, with the SHA-256 of its secret in hex.

        Raises:
            AlreadyExists: if there is or was one of that name.
        """
        row = {
            "name": name,
            "digest": digest,
            "scopes": list(scopes),
            "tenant": tenant,
            "rate": rate,
            "burst": burst,
            "expires": expires,
            "created": datetime.now(UTC),
            "actor": actor,
        }
        with self._database.write() as connection:
            if _named(connection, name) is not None:
                raise AlreadyExists(
                    f"there is or was a token {name!r}, and histories tell tokens by their names; "
                    "choose another"
                )
            connection.execute(insert(schema.tokens).values(row))
            return _token(_expect(connection, name))

    def revoke(self, name: str) -> Token:
        """Revoke a token for good; one that is revoked stays as it is.

        Raises:
            NotFound: if there is none of that name.
        """
        with self._database.write() as connection:
            this = (_T.name == name) & _T.revoked.is_(None)
            connection.execute(update(schema.tokens).where(this).values(revoked=datetime.now(UTC)))
            return _token(_expect(connection, name))

    def list(self) -> list[Token]:
        """All tokens, also those that are no longer valid, by name."""
        with self._database.read() as connection:
            rows = connection.execute(select(schema.tokens).order_by(_T.name))
            return [_token(row) for row in rows]

    def find(self, digest: str) -> Token | None:
        """The token of that digest, also when it is no longer valid."""
        with self._database.read() as connection:
            row = connection.execute(select(schema.tokens).where(_T.digest == digest)).one_or_none()
            return None if row is None else _token(row)

    def state(self) -> tuple[object, ...]:
        """What is something else after a token was made or revoked, or a backup restored."""
        said = select(
            func.max(_T.id), func.max(_T.created), func.count(_T.revoked), func.max(_T.revoked)
        )
        with self._database.read() as connection:
            return tuple(connection.execute(said).one())


def _named(connection: Connection, name: str) -> Row[Any] | None:
    return connection.execute(select(schema.tokens).where(_T.name == name)).one_or_none()


def _expect(connection: Connection, name: str) -> Row[Any]:
    row = _named(connection, name)
    if row is None:
        raise NotFound(f"no token {name!r}; `foretoken tokens list` shows those there are")
    return row


def _token(row: Row[Any]) -> Token:
    return Token(
        id=row.id,
        name=row.name,
        scopes=tuple(row.scopes),
        tenant=row.tenant,
        rate=row.rate,
        burst=row.burst,
        created=row.created,
        actor=row.actor,
        expires=row.expires,
        revoked=row.revoked,
    )
