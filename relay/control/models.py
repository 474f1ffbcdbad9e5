"""The shapes of the API: what people send (strict) and what they get."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from relay.database import ChannelRow
from relay.egress.platforms import PLATFORMS
from relay.errors import ProtocolError
from relay.protocol.rtmp.url import parse_rtmp_url

NAME, KEY, PLATFORM_KEY = r"^[a-z0-9][a-z0-9_-]{0,62}$", r"^[A-Za-z0-9._~-]+$", r"^[\x21-\x7e]*$"
SLATE = r"^([A-Za-z0-9][A-Za-z0-9._-]{0,99}\.(png|jpg|jpeg|mp4))?$"
PATTERNS = {
    NAME: "write lower-case letters a-z, digits, - and _; at most 63, beginning with a letter or digit",
    KEY: "write letters, digits, and . _ ~ - only",
    PLATFORM_KEY: "write it without spaces, in ASCII",
    SLATE: "write the name of a .png, .jpg or .mp4 file, without a folder",
}
Name = Annotated[str, StringConstraints(pattern=NAME), Field(description=PATTERNS[NAME])]
Key = Annotated[str, StringConstraints(min_length=22, max_length=512, pattern=KEY), Field(description=PATTERNS[KEY])]
PlatformKey = Annotated[str, StringConstraints(max_length=1024, pattern=PLATFORM_KEY)]
SlateName = Annotated[str, StringConstraints(pattern=SLATE), Field(description=PATTERNS[SLATE])]


def _rtmp_url(value: str) -> str:
    if value:
        try:
            parse_rtmp_url(value)
        except ProtocolError as error:
            raise ValueError(str(error)) from error
    return value


def _platform(value: str) -> str:
    if value not in PLATFORMS:
        raise ValueError(f"unknown platform; one of {', '.join(PLATFORMS)}")
    return value


Url = Annotated[str, StringConstraints(max_length=2048, strip_whitespace=True), AfterValidator(_rtmp_url)]
PlatformName = Annotated[str, AfterValidator(_platform)]


def explain(error: ValidationError) -> str:
    """Each wrong field and what would fit it, in one line; never what was sent, which may be a key."""
    found = []
    for item in error.errors(include_input=False, include_url=False):
        words = PATTERNS.get(item.get("ctx", {}).get("pattern", ""), item["msg"].removeprefix("Value error, "))
        found.append(f"{'.'.join(str(part) for part in item['loc']) or 'body'}: {words}")
    return "; ".join(found)


class Sent(BaseModel):
    """What a client sends: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid")


class HoldOptions(Sent):
    """What a destination gets while the publisher is away: freeze, slate (a file of the slates folder) or off.

    ``limit_s``: seconds until it ends politely; None: as the settings say (120).
    """

    mode: Literal["freeze", "slate", "off"] = "freeze"
    limit_s: float | None = Field(default=None, ge=0, le=86_400)
    slate: SlateName = ""

    @model_validator(mode="after")
    def _slate_is_named(self) -> "HoldOptions":
        if self.mode == "slate" and not self.slate:
            raise ValueError("name the slate: a PNG, JPEG or MP4 file in the folder slates of the data directory")
        return self


class FitOptions(Sent):
    """What a destination's own encoding shall be; 0: as the publisher sends it."""

    height: int = Field(default=0, ge=0, le=2160, multiple_of=2)
    fps: float = Field(default=0, ge=0, le=120)
    video_kbps: int = Field(default=0, ge=0, le=100_000)
    audio_kbps: int = Field(default=0, ge=0, le=512)
    keyframe_s: float = Field(default=0, ge=0, le=20)


EnsureAudio = Literal["auto", "on", "off"]
OnChange = Literal["auto", "send", "reconnect", "transcode"]


class NewDestination(Sent):
    name: Name
    platform: PlatformName = "custom"
    url: Url = ""  # empty: the platform's own
    key: PlatformKey = ""
    enabled: bool = True
    hold: HoldOptions = Field(default_factory=HoldOptions)
    fit: FitOptions | None = None
    ensure_audio: EnsureAudio = "auto"
    on_change: OnChange = "auto"


class DestinationChange(Sent):
    platform: PlatformName | None = None
    url: Url | None = None
    key: PlatformKey | None = None
    enabled: bool | None = None
    hold: HoldOptions | None = None
    fit: FitOptions | None = None  # null: none any more
    ensure_audio: EnsureAudio | None = None
    on_change: OnChange | None = None


class ArchiveOptions(Sent):
    """How a channel's recordings are treated. None: for ever, and however much. The highest priority pauses last."""

    priority: int = Field(default=0, ge=-100, le=100)
    keep_days: float | None = Field(default=None, gt=0, le=100_000)
    keep_gb: float | None = Field(default=None, gt=0, le=1_000_000)


Viewers = Literal["off", "signed", "public"]
"""Who may watch a channel over HTTP: nobody but the operator, whoever has a link or the read key, everybody."""


class NewChannel(Sent):
    name: Name
    stream_key: Key | None = None  # made when left out
    viewers: Viewers = "signed"
    archive: ArchiveOptions = Field(default_factory=ArchiveOptions)
    destinations: list[NewDestination] = Field(default_factory=list, max_length=50)


class ChannelChange(Sent):
    stream_key: Key | None = None
    viewers: Viewers | None = None
    archive: ArchiveOptions | None = None
    destinations: list[NewDestination] | None = Field(default=None, max_length=50)


class Document(Sent):
    """What ``relay apply`` sends: these channels shall be so; others stay, unless ``prune``."""

    channels: list[NewChannel] = Field(max_length=10_000)
    prune: bool = False


def archive_options(row: ChannelRow) -> ArchiveOptions:
    """A channel's archive options as stored, or the defaults."""
    return ArchiveOptions.model_validate(row.options.get("archive", {}))


def viewers_of(row: ChannelRow) -> Viewers:
    """Who may watch a channel, as stored, or the default."""
    stored = row.options.get("viewers")
    return "off" if stored == "off" else "public" if stored == "public" else "signed"


class WatchLinkOptions(Sent):
    """How long a link to watch a channel shall work, in hours."""

    hours: float = Field(default=24, gt=0, le=24 * 366)


class PublisherView(BaseModel):
    protocol: str
    address: str
    encoder: str
    encrypted: bool
    connected_at: float
    bytes_received: int
    rtt_s: float | None
    out_of_order: int  # TCP packets that came out of order: on a link that loses, the repeats


class HealthView(BaseModel):
    """The publisher's link as this side sees it; ``suggested_kbps`` is for the encoder (0: not known yet)."""

    quality: Literal["good", "fair", "poor", "unknown"]
    kbps_10s: int
    kbps_60s: int
    lag_s: float
    stalls: int
    suggested_kbps: int
    words: str  # all of it, for people


class FindingView(BaseModel):
    """Something in the stream that does not suit a destination, and what to do."""

    destination: str
    rule: str
    words: str


class TrackView(BaseModel):
    kind: str
    codec: str
    codec_string: str
    width: int
    height: int
    sample_rate: int
    channels: int


class DestinationView(BaseModel):
    name: str
    platform: str
    url: str
    hold: HoldOptions
    fit: FitOptions | None
    ensure_audio: EnsureAudio
    on_change: OnChange
    state: Literal["idle", "connecting", "live", "retrying", "disabled"]
    last_error: str
    bytes_sent: int
    attempts: int
    dropped_packets: int
    backlog_s: float


class ChannelView(BaseModel):
    name: str
    state: Literal["offline", "live", "holding"]
    stream_key: str
    read_key: str
    publish_url: str
    play_url: str
    playback_url: str
    watch_url: str
    viewers: Viewers
    publisher: PublisherView | None
    health: HealthView
    lint: list[FindingView]
    held_s: float
    takeovers: int
    is_contested: bool  # two encoders that both send keep taking the key from each other
    tracks: list[TrackView]
    destinations: list[DestinationView]
    recording: str | None
    recording_paused: bool
    archive: ArchiveOptions


class RecordingView(BaseModel):
    id: str
    channel: str
    state: Literal["recording", "complete", "deleting"]
    started_at: str
    ended_at: str | None
    duration_s: float
    gap_s: float
    bytes: int
    segments: int
    segments_stored: int


class GapView(BaseModel):
    """Missing time: where in the recording, and when, it begins."""

    start_s: float
    started_at: str
    length_s: float
    reason: str


class ThumbnailView(BaseModel):
    """A picture of the recording, and the place in it that it shows."""

    start_s: float
    started_at: str
    url: str


class LinkView(BaseModel):
    """Addresses of one recording that open without a token, until they expire."""

    playlist_url: str
    export_url: str
    expires_at: str


class WatchLinkView(BaseModel):
    """Addresses of one channel that open without a token, until they expire: for people, and for players."""

    watch_url: str
    playback_url: str
    expires_at: str


class LiveView(BaseModel):
    """What a player page must know: whether there is something to play, and for which codecs."""

    state: Literal["offline", "starting", "live", "holding", "ended"]
    codecs: str
    has_audio: bool  # beside a picture, to be played alone
    dvr_s: float  # how far back the playlist reaches


class GapList(BaseModel):
    gaps: list[GapView]


class ThumbnailList(BaseModel):
    thumbnails: list[ThumbnailView]


class ChannelList(BaseModel):
    channels: list[ChannelView]


class DestinationList(BaseModel):
    destinations: list[DestinationView]


class RecordingList(BaseModel):
    recordings: list[RecordingView]


class Changes(BaseModel):
    """What ``apply`` did, a line each."""

    changes: list[str]
