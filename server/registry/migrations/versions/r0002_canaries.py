"""Canaries beside an alias's version, and serving options that override a model's own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add what rollouts by degrees and per-model options need; no row changes its meaning."""
    with op.batch_alter_table("aliases") as aliases:
        aliases.add_column(sa.Column("canary_version", sa.Integer))
        aliases.add_column(sa.Column("canary_percent", sa.Float))
        aliases.create_foreign_key(
            "fk_aliases_canary", "model_versions", ["name", "canary_version"], ["name", "version"]
        )
    for side in ("from", "to"):
        op.add_column("alias_events", sa.Column(f"{side}_canary_version", sa.Integer))
        op.add_column("alias_events", sa.Column(f"{side}_canary_percent", sa.Float))
    op.create_table(
        "model_options",
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("serving", sa.JSON, nullable=False),
        sa.Column("changed", sa.DateTime, nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_model_options"),
        sa.ForeignKeyConstraint(["name"], ["registered_models.name"], name="fk_model_options_name"),
    )
