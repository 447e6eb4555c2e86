"""Which columns a context was fitted with as text, so that CSV is read as it was then."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add names; of contexts that are there already none are known."""
    op.add_column(
        "contexts", sa.Column("texts", sa.JSON, nullable=False, server_default=sa.text("'[]'"))
    )
