"""Doors in: where publishers come, are admitted by key, and become packets on a stream.

Floor 3. ``rtmp`` listens, ``rtmp_connection`` is one peer; ``hls_push`` takes uploads, ``feed`` makes one publisher of
them, ``demux`` reads them in children; ``admission`` decides by key, ``base`` and ``links`` are what doors share.
Deliberately without knowledge of destinations, the archive or the database.
"""
