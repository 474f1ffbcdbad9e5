"""The way out: which addresses may be dialled, and dialling them, for destinations and for sources pulled from.

Floor 2. ``address`` is the policy, ``dial`` opens tuned sockets with TLS, ``http`` is a client that dials only by that
policy. Never resolves twice, never follows a redirect by itself, knows neither media nor channels.
"""
