"""Webhooks: events told to addresses of the operator's choosing, signed, in order, again until they are taken.

Floor 3. ``event`` is what is told and how it is signed, ``sender`` delivers to one address, ``hooks`` holds them all.
Knows neither where events come from nor who configured it, and never makes anybody wait.
"""
