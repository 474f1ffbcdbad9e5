"""What a publisher wanted kept beside a segment's packets, so that what it sends again is known."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("segments", sa.Column("notes", sa.Text, nullable=False, server_default=""))
