"""The tables, as SQLAlchemy Core metadata; migrations make them so."""

import sqlalchemy as sa

VERSION = "0004"  # of the migration that makes this schema
metadata = sa.MetaData()

channels = sa.Table(
    "channels",
    metadata,
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("stream_key", sa.LargeBinary, nullable=False),  # encrypted
    sa.Column("stream_key_digest", sa.String(64), nullable=False, unique=True),
    sa.Column("read_key", sa.LargeBinary, nullable=False),  # encrypted
    sa.Column("read_key_digest", sa.String(64), nullable=False, unique=True),
    sa.Column("options", sa.JSON, nullable=False),
)

destinations = sa.Table(
    "destinations",
    metadata,
    sa.Column("channel", sa.String(63), sa.ForeignKey("channels.name", ondelete="CASCADE"), primary_key=True),
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("platform", sa.String(32), nullable=False),
    sa.Column("url", sa.String(2048), nullable=False),
    sa.Column("key", sa.LargeBinary, nullable=False),  # encrypted
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("options", sa.JSON, nullable=False),
)

recordings = sa.Table(
    "recordings",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("channel", sa.String(63), nullable=False, index=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("started_at", sa.Float, nullable=False),
    sa.Column("ended_at", sa.Float, nullable=True),
    sa.Column("base_ms", sa.BigInteger, nullable=False),
    sa.Column("ended_cleanly", sa.Boolean, nullable=False, server_default=sa.true()),
)

segments = sa.Table(
    "segments",
    metadata,
    sa.Column("recording", sa.String(32), sa.ForeignKey("recordings.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("object_key", sa.String(512), nullable=False),
    sa.Column("init_key", sa.String(512), nullable=False),
    sa.Column("started_at", sa.Float, nullable=False),
    sa.Column("start_ms", sa.BigInteger, nullable=False),
    sa.Column("duration_s", sa.Float, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("stored", sa.Boolean, nullable=False),
    sa.Column("starts_with_keyframe", sa.Boolean, nullable=False),
    sa.Column("discontinuity", sa.Boolean, nullable=False),
    sa.Column("thumbnail", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("notes", sa.Text, nullable=False, server_default=""),  # JSON; empty where there are none
)

gaps = sa.Table(
    "gaps",
    metadata,
    sa.Column("recording", sa.String(32), sa.ForeignKey("recordings.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("start_ms", sa.BigInteger, primary_key=True),
    sa.Column("length_ms", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.String(64), nullable=False),
)
