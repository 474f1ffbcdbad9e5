"""The relay command: runs the server, and talks to a running one over its API.

Floor 6. ``main`` holds the program, ``channels`` and ``recordings`` its groups of commands, ``shared`` what all use.
Deliberately without any work of its own: what a command does is done by the API, or by the room it belongs to.
"""
