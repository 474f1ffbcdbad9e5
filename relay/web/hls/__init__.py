"""Live playback: parts and segments cut from a stream as it comes, playlists over them, and who may read them.

``cut`` is what is played, ``muxer`` cuts it, ``playlists`` writes it down, ``past`` finds again in the archive what has
left memory, ``live`` keeps one muxer for each live channel, ``access`` says who may watch, ``handlers`` answers.
Deliberately without media of its own: packets come from the hub, older ones from the archive, both made CMAF by the
archive's packager.
"""
