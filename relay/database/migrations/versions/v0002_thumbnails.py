"""Which segments have a thumbnail."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("segments", sa.Column("thumbnail", sa.Boolean, nullable=False, server_default=sa.false()))
