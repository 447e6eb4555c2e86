"""The catalogue's tables as they are now; the migrations say how they came to be.

``model_versions.manifest_digest`` has no foreign key to ``blobs``: a FAILED version keeps the name
of what was tried but not its bytes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    true,
)

REVISION = "0006"  # the newest migration

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)


class Utc(TypeDecorator[datetime]):
    """An aware datetime, kept as naive UTC: not every database has time zones."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return value and value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return value and value.replace(tzinfo=UTC)


registered_models = Table(
    "registered_models",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("created", Utc, nullable=False),
    Column("last_version", Integer, nullable=False),  # the highest number ever given out
    Column("owner", String(128)),  # a tenant; null: everybody's
    Column("served", Boolean, nullable=False, server_default=true()),
)

model_versions = Table(
    "model_versions",
    metadata,
    Column("name", ForeignKey("registered_models.name"), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("manifest_digest", String(71), nullable=False),
    Column("status", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("family", String(128), nullable=False),
    Column("precision", String(32), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("created", Utc, nullable=False),
    Column("origin", String(16), nullable=False),
    Column("release", String(64)),
    Column("parent_name", String(128)),
    Column("parent_version", Integer),
    Column("parent_digest", String(71)),
    Column("relation", String(32)),
    Index("ix_model_versions_by_status", "status", "name", "version"),
    Index("ix_model_versions_manifest", "manifest_digest"),
)

blobs = Table(
    "blobs",
    metadata,
    Column("digest", String(71), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("media_type", String(128), nullable=False),
)

version_files = Table(
    "version_files",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("file", String(128), primary_key=True),
    Column("digest", ForeignKey("blobs.digest"), nullable=False, index=True),
    ForeignKeyConstraint(
        ["name", "version"], ["model_versions.name", "model_versions.version"], ondelete="CASCADE"
    ),
)

version_tags = Table(
    "version_tags",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("key", String(128), primary_key=True),
    Column("value", Text, nullable=False),
    ForeignKeyConstraint(
        ["name", "version"], ["model_versions.name", "model_versions.version"], ondelete="CASCADE"
    ),
)

aliases = Table(
    "aliases",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("alias", String(128), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("canary_version", Integer),
    Column("canary_percent", Float),
    ForeignKeyConstraint(
        ["name", "version"],
        ["model_versions.name", "model_versions.version"],
        name="fk_aliases_version",
    ),
    ForeignKeyConstraint(
        ["name", "canary_version"],
        ["model_versions.name", "model_versions.version"],
        name="fk_aliases_canary",
    ),
    Index("ix_aliases_version", "name", "version"),
)

alias_events = Table(
    "alias_events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(128), nullable=False),
    Column("alias", String(128), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("at", Utc, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("action", String(16), nullable=False),
    Column("from_version", Integer),
    Column("to_version", Integer),
    Column("from_canary_version", Integer),
    Column("from_canary_percent", Float),
    Column("to_canary_version", Integer),
    Column("to_canary_percent", Float),
    UniqueConstraint("name", "alias", "generation"),
)

model_options = Table(
    "model_options",
    metadata,
    Column("name", ForeignKey("registered_models.name"), primary_key=True),
    Column("serving", JSON, nullable=False),
    Column("changed", Utc, nullable=False),
    Column("actor", String(128), nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(128), nullable=False, unique=True),
    Column("digest", String(64), nullable=False, unique=True),  # SHA-256 of the secret, in hex
    Column("scopes", JSON, nullable=False),
    Column("tenant", String(128)),
    Column("rate", Float),  # calls per second
    Column("burst", Integer),
    Column("created", Utc, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("expires", Utc),
    Column("revoked", Utc),
)

contexts = Table(
    "contexts",
    metadata,
    Column("id", String(68), primary_key=True),  # salted: it tells nothing of what it names
    Column("tenant", String(128)),  # whose it is; null: of callers without a tenant
    Column("name", String(128), nullable=False),  # no foreign key: a version may go before it
    Column("version", Integer, nullable=False),
    Column("manifest_digest", String(71), nullable=False),
    Column("rows", Integer, nullable=False),
    Column("columns", JSON, nullable=False),
    Column("classes", JSON, nullable=False),
    Column("members", Integer, nullable=False),
    Column("nbytes", BigInteger, nullable=False),  # of its state, whether that is kept or not
    Column("table_digest", String(71), nullable=False),
    Column("table_size", BigInteger, nullable=False),
    Column("kept_digest", String(71)),  # of its state; null while there is none
    Column("kept_size", BigInteger, nullable=False),
    Column("notes", JSON, nullable=False),  # what its fit chose for the caller
    Column("texts", JSON, nullable=False),  # names of its columns of text
    Column("problem", Text, nullable=False),  # what is wrong with its table
    Column("created", Utc, nullable=False),
    Column("used", Utc, nullable=False),
    Column("expires", Utc),
    Column("gone", Utc),  # when its version was deleted; the data went with it
    Index("ix_contexts_tenant", "tenant", "name"),
    Index("ix_contexts_version", "name", "version"),
    Index("ix_contexts_used", "used"),
    Index("ix_contexts_expires", "expires"),
)

secrets = Table(
    "secrets",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", String(64), nullable=False),  # in hex
)
