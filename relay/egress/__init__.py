"""Doors out: every configured destination gets the stream, each on its own, none able to hurt the others.

Floor 3. ``manager`` reconciles what is configured with what runs; ``rtmp`` is one attempt at one destination;
``platforms`` is what is known of each third party, as data. Retry, state and
totals belong to ``relay.supervise``. Deliberately without knowledge of publishers, recordings or the database.
"""
