"""Field Relay: encoders on bad links in, many platforms out, an archive that loses nothing it acknowledged."""

__version__ = "0.1.0"
