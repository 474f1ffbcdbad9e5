"""Doors out: every configured destination gets the stream, each on its own, none able to hurt the others.

Floor 3. ``manager`` reconciles what is configured with what runs; ``rtmp`` and ``hls`` are one attempt at one
destination, ``kinds`` the table of them; ``platforms`` is what is known of each third party, as data. Retry, state and
totals belong to ``relay.supervise``. Deliberately without knowledge of publishers, recordings or the database.
"""

SLATE_BYTES = 20 * 1024 * 1024
"""The most that a slate's file may have."""
