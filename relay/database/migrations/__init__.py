"""Alembic migrations, run at start. Deliberately without downgrades: restore a backup instead."""
