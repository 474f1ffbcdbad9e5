"""Windows: the API, playback, the console and its pages, over HTTP.

Floor 5. ``server`` listens and guards, ``routes`` is the table everything is registered from, ``api`` and ``playback``
and ``console`` are its handlers. Deliberately without metrics of its own (it is handed a renderer) and without any
state but sessions.
"""
