"""Models, versions, files, tags, aliases and their history."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_VERSION = ["model_versions.name", "model_versions.version"]


def upgrade() -> None:
    """Make the first tables."""
    op.create_table(
        "registered_models",
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("created", sa.DateTime, nullable=False),
        sa.Column("last_version", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_registered_models"),
    )
    _versions()
    op.create_table(
        "blobs",
        sa.Column("digest", sa.String(71), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("media_type", sa.String(128), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_blobs"),
    )
    _details()
    _aliases()


def _versions() -> None:
    op.create_table(
        "model_versions",
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("manifest_digest", sa.String(71), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("family", sa.String(128), nullable=False),
        sa.Column("precision", sa.String(32), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("created", sa.DateTime, nullable=False),
        sa.Column("origin", sa.String(16), nullable=False),
        sa.Column("release", sa.String(64)),
        sa.Column("parent_name", sa.String(128)),
        sa.Column("parent_version", sa.Integer),
        sa.Column("parent_digest", sa.String(71)),
        sa.Column("relation", sa.String(32)),
        sa.PrimaryKeyConstraint("name", "version", name="pk_model_versions"),
        sa.ForeignKeyConstraint(
            ["name"], ["registered_models.name"], name="fk_model_versions_name"
        ),
    )
    op.create_index("ix_model_versions_by_status", "model_versions", ["status", "name", "version"])
    op.create_index("ix_model_versions_manifest", "model_versions", ["manifest_digest"])


def _details() -> None:
    op.create_table(
        "version_files",
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("file", sa.String(128), nullable=False),
        sa.Column("digest", sa.String(71), nullable=False),
        sa.PrimaryKeyConstraint("name", "version", "file", name="pk_version_files"),
        sa.ForeignKeyConstraint(["digest"], ["blobs.digest"], name="fk_version_files_digest"),
        sa.ForeignKeyConstraint(
            ["name", "version"], _VERSION, name="fk_version_files_name", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_version_files_digest", "version_files", ["digest"])
    op.create_table(
        "version_tags",
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("key", sa.String(128), nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name", "version", "key", name="pk_version_tags"),
        sa.ForeignKeyConstraint(
            ["name", "version"], _VERSION, name="fk_version_tags_name", ondelete="CASCADE"
        ),
    )


def _aliases() -> None:
    op.create_table(
        "aliases",
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("alias", sa.String(128), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("name", "alias", name="pk_aliases"),
        sa.ForeignKeyConstraint(["name", "version"], _VERSION, name="fk_aliases_version"),
    )
    op.create_index("ix_aliases_version", "aliases", ["name", "version"])
    op.create_table(
        "alias_events",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("alias", sa.String(128), nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("at", sa.DateTime, nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("from_version", sa.Integer),
        sa.Column("to_version", sa.Integer),
        sa.PrimaryKeyConstraint("id", name="pk_alias_events"),
        sa.UniqueConstraint("name", "alias", "generation", name="uq_alias_events_name"),
    )
