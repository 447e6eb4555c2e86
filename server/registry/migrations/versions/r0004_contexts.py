"""Contexts, and the secret that their ids are salted with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the fitted training sets that a data dir keeps, none so far."""
    op.create_table(
        "contexts",
        sa.Column("id", sa.String(68), nullable=False),
        sa.Column("tenant", sa.String(128)),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("manifest_digest", sa.String(71), nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("columns", sa.JSON, nullable=False),
        sa.Column("classes", sa.JSON, nullable=False),
        sa.Column("members", sa.Integer, nullable=False),
        sa.Column("nbytes", sa.BigInteger, nullable=False),
        sa.Column("table_digest", sa.String(71), nullable=False),
        sa.Column("table_size", sa.BigInteger, nullable=False),
        sa.Column("kept_digest", sa.String(71)),
        sa.Column("kept_size", sa.BigInteger, nullable=False),
        sa.Column("problem", sa.Text, nullable=False),
        sa.Column("created", sa.DateTime, nullable=False),
        sa.Column("used", sa.DateTime, nullable=False),
        sa.Column("expires", sa.DateTime),
        sa.Column("gone", sa.DateTime),
        sa.PrimaryKeyConstraint("id", name="pk_contexts"),
    )
    op.create_index("ix_contexts_tenant", "contexts", ["tenant", "name"])
    op.create_index("ix_contexts_version", "contexts", ["name", "version"])
    op.create_index("ix_contexts_used", "contexts", ["used"])
    op.create_index("ix_contexts_expires", "contexts", ["expires"])
    op.create_table(
        "secrets",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("value", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_secrets"),
    )
