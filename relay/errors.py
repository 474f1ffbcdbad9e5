"""The whole error tree on one page. The branch says whose fault it was; the message says what to do."""


class RelayError(Exception):
    """Every error the relay raises on purpose."""


# --- the operator's: settings, files, commands -------------------------------------------------------------------


class ConfigError(RelayError):
    """A setting is wrong; the message names the key and a value that would work."""


class NotFoundError(RelayError):
    """No such channel, destination or recording."""


class ConflictError(RelayError):
    """The name is taken, the object is busy, or what is asked of it cannot be had of it as it is."""


class InvalidError(RelayError):
    """A value given through API, CLI or file does not fit; the message says what does."""


# --- the peer's: what arrived on the wire ------------------------------------------------------------------------


class ProtocolError(RelayError):
    """The peer broke the protocol; the connection ends. Parsers raise nothing else."""


class LimitError(ProtocolError):
    """The peer passed a limit. ``limit`` is the short name it is counted under."""

    def __init__(self, limit: str, message: str) -> None:
        super().__init__(message)
        self.limit = limit


class RefusedError(RelayError):
    """A publisher or player may not have what it asked for. ``outcome`` is the short name it is counted under."""

    def __init__(self, outcome: str, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome


# --- a third party's: destinations and stores --------------------------------------------------------------------


class DestinationError(RelayError):
    """One attempt at a destination failed. ``outcome`` is the short name it is counted under.

    ``retry_after_s``: how long the platform asks to be left alone.
    """

    outcome = "failed"

    def __init__(self, message: str, outcome: str | None = None, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        if outcome is not None:
            self.outcome = outcome


class DestinationRejectedError(DestinationError):
    """The platform refused key or app: trying again soon will not help."""

    outcome = "rejected"


class AddressError(DestinationError):
    """The host does not resolve, or resolves to an address the outbound policy refuses."""

    outcome = "address"


class StoreError(RelayError):
    """The object store failed. ``kind`` is the short name it is counted under; ``transient`` says retry."""

    def __init__(self, message: str, kind: str = "other", transient: bool = True) -> None:
        super().__init__(message)
        self.kind = kind
        self.transient = transient


class SpoolError(RelayError):
    """The spool disk failed, or a spool file is not what it should be."""


class MediaError(RelayError):
    """Media that cannot be packaged; the message names the codec and what is wrong with it."""


class SlateError(RelayError):
    """The operator's slate cannot be shown in place of a stream; the message says what to do."""


class EvidenceError(RelayError):
    """What lies beside a recording's segments is not what a relay wrote there.

    ``kind``: form, version, chain, signature, key, or playlist.
    """

    def __init__(self, message: str, kind: str = "form") -> None:
        super().__init__(message)
        self.kind = kind
