"""Tokens, the tenant that owns a model, and whether a model is served."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add what a shared server needs; models that are there already are everybody's, and served."""
    op.add_column("registered_models", sa.Column("owner", sa.String(128)))
    op.add_column(
        "registered_models",
        sa.Column("served", sa.Boolean, nullable=False, server_default=sa.true()),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("tenant", sa.String(128)),
        sa.Column("rate", sa.Float),
        sa.Column("burst", sa.Integer),
        sa.Column("created", sa.DateTime, nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("expires", sa.DateTime),
        sa.Column("revoked", sa.DateTime),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
        sa.UniqueConstraint("name", name="uq_tokens_name"),
        sa.UniqueConstraint("digest", name="uq_tokens_digest"),
    )
