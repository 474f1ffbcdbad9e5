"""Whether a recording ended with its publisher's goodbye, or may be gone on with."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("recordings", sa.Column("ended_cleanly", sa.Boolean, nullable=False, server_default=sa.true()))
