"""What a fit chose for its caller, kept with the context for whoever fits the same again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add notes; contexts that are there already have none."""
    op.add_column(
        "contexts", sa.Column("notes", sa.JSON, nullable=False, server_default=sa.text("'[]'"))
    )
