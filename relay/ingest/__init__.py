"""Doors in: where publishers come, are admitted by key, and become packets on a stream.

Floor 3. ``rtmp`` listens, ``rtmp_connection`` is one peer, ``admission`` decides by key, ``base`` is what doors share.
Deliberately without knowledge of destinations, the archive or the database.
"""
