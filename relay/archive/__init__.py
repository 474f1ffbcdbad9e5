"""Memory: what publishers sent, kept on disk until it is safe in the object store, and playable from there.

Floor 3. ``recorder`` → ``spool`` (``committer`` makes it durable) → ``recording`` and ``packager`` → ``uploader`` →
``store``; ``archive`` runs them, ``upkeep`` finds and evicts files, ``playlist`` makes the result playable,
``manifest`` (signed by ``signing``) makes it evidence; ``verify`` and ``rebuild`` go by the store alone. The spool
is the upload queue: crash recovery, a week without a link and a late upload are the same path. Deliberately without
re-encoding, and without any say over the live path. ``painter`` has pictures made in a child, which loads no more of
this package than it needs: nothing is imported here.
"""
