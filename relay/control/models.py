"""The shapes of the API: what people send (strict) and what they get."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from relay.database import ChannelRow
from relay.egress.hls_address import upload_url
from relay.egress.platforms import PLATFORMS
from relay.errors import DestinationError, ProtocolError
from relay.outbound.http import http_url
from relay.protocol.rtmp.url import parse_rtmp_url, split_stream

NAME, KEY, PLATFORM_KEY = r"^[a-z0-9][a-z0-9_-]{0,62}$", r"^[A-Za-z0-9._~-]+$", r"^[\x21-\x7e]*$"
SLATE = r"^([A-Za-z0-9][A-Za-z0-9._-]{0,99}\.(png|jpg|jpeg|mp4))?$"
HEADER, HEADER_VALUE = r"^[A-Za-z0-9][A-Za-z0-9-]{0,63}$", r"^[\x20-\x7e]*$"
# Headers that are the relay's own to say: they frame a request, or change what is answered.
OWN_HEADERS = ("host", "range", "connection", "transfer-encoding", "te", "upgrade", "accept-encoding")
PATTERNS = {
    HEADER: "write the name of a header, such as Authorization",
    HEADER_VALUE: "write it in ASCII, in one line",
    NAME: "write lower-case letters a-z, digits, - and _; at most 63, beginning with a letter or digit",
    KEY: "write letters, digits, and . _ ~ - only",
    PLATFORM_KEY: "write it without spaces, in ASCII",
    SLATE: "write the name of a .png, .jpg or .mp4 file, without a folder",
}
Name = Annotated[str, StringConstraints(pattern=NAME), Field(description=PATTERNS[NAME])]
Key = Annotated[str, StringConstraints(min_length=22, max_length=512, pattern=KEY), Field(description=PATTERNS[KEY])]
PlatformKey = Annotated[str, StringConstraints(max_length=1024, pattern=PLATFORM_KEY)]
SlateName = Annotated[str, StringConstraints(pattern=SLATE), Field(description=PATTERNS[SLATE])]


def _url(value: str) -> str:
    if value.lower().startswith("http"):
        try:
            upload_url(value, "", "index.m3u8")
        except DestinationError as error:
            raise ValueError(str(error)) from error
    elif value:
        try:
            parse_rtmp_url(value)
        except ProtocolError as error:
            raise ValueError(f"{error}; or http:// or https:// for HLS") from error
    return value


def _source_url(value: str) -> str:
    try:
        if value.startswith(("rtmp://", "rtmps://")):
            split_stream(parse_rtmp_url(value))
        elif not value.startswith(("http://", "https://")):
            raise ValueError("the URL must begin with http://, https://, rtmp:// or rtmps://")
        else:
            http_url(value)
    except (ProtocolError, DestinationError) as error:
        raise ValueError(str(error)) from error
    return value


def _header(value: str) -> str:
    if value.lower() in OWN_HEADERS or value.lower().startswith(("content-", "if-")):
        raise ValueError(f"the header {value} is the relay's own to say")
    return value


def _http_url(value: str) -> str:
    if not value.lower().startswith("http"):
        raise ValueError("a backup's URL begins with http:// or https://")
    return _url(value)


def _platform(value: str) -> str:
    if value not in PLATFORMS:
        raise ValueError(f"unknown platform; one of {', '.join(PLATFORMS)}")
    return value


Url = Annotated[str, StringConstraints(max_length=2048, strip_whitespace=True), AfterValidator(_url)]
BackupUrl = Annotated[str, StringConstraints(max_length=2048, strip_whitespace=True), AfterValidator(_http_url)]
SourceUrl = Annotated[
    str, StringConstraints(max_length=2048, strip_whitespace=True, pattern=PLATFORM_KEY), AfterValidator(_source_url)
]
HeaderName = Annotated[str, StringConstraints(pattern=HEADER), AfterValidator(_header)]
HeaderValue = Annotated[str, StringConstraints(max_length=4096, pattern=HEADER_VALUE)]
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
Method = Literal["PUT", "POST"]


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
    method: Method = "PUT"  # how HLS is uploaded
    backup: bool | BackupUrl = False  # HLS only: the same to a second place, the platform's own or this URL


class DestinationChange(Sent):
    platform: PlatformName | None = None
    url: Url | None = None
    key: PlatformKey | None = None
    enabled: bool | None = None
    hold: HoldOptions | None = None
    fit: FitOptions | None = None  # null: none any more
    ensure_audio: EnsureAudio | None = None
    on_change: OnChange | None = None
    method: Method | None = None
    backup: bool | BackupUrl | None = None


class ArchiveOptions(Sent):
    """How a channel's recordings are treated. None: for ever, and however much. The highest priority pauses last."""

    priority: int = Field(default=0, ge=-100, le=100)
    keep_days: float | None = Field(default=None, gt=0, le=100_000)
    keep_gb: float | None = Field(default=None, gt=0, le=1_000_000)


class SourceOptions(Sent):
    """Where a channel pulls its stream from: HLS by http(s)://, or rtmp(s)://host/app/name.

    ``headers`` go to the URL's own host only. ``max_kbps``: of the variant that is chosen; 0: the best.
    """

    url: SourceUrl
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict, max_length=20)
    max_kbps: int = Field(default=0, ge=0, le=1_000_000)

    @model_validator(mode="after")
    def _fits(self) -> "SourceOptions":
        if self.headers and self.url.startswith("rtmp"):
            raise ValueError("headers are for http and https only")
        if "@" in urlsplit(self.url).netloc and any(name.lower() == "authorization" for name in self.headers):
            raise ValueError("give a user in the URL or an Authorization header, not both")
        return self


class NewChannel(Sent):
    name: Name
    stream_key: Key | None = None  # made when left out
    source: SourceOptions | None = None
    expected: bool = False  # to be live: monitoring warns while it is not
    archive: ArchiveOptions = Field(default_factory=ArchiveOptions)
    destinations: list[NewDestination] = Field(default_factory=list, max_length=50)


class ChannelChange(Sent):
    stream_key: Key | None = None
    source: SourceOptions | None = None  # null: none any more
    expected: bool | None = None
    archive: ArchiveOptions | None = None
    destinations: list[NewDestination] | None = Field(default=None, max_length=50)


class Document(Sent):
    """What ``relay apply`` sends: these channels shall be so; others stay, unless ``prune``."""

    channels: list[NewChannel] = Field(max_length=10_000)
    prune: bool = False


def archive_options(row: ChannelRow) -> ArchiveOptions:
    """A channel's archive options as stored, or the defaults."""
    return ArchiveOptions.model_validate(row.options.get("archive", {}))


def is_expected(row: ChannelRow) -> bool:
    """Whether the channel is meant to be live now."""
    return row.options.get("expected") is True


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
    kind: Literal["rtmp", "hls"]
    url: str
    hold: HoldOptions
    fit: FitOptions | None
    ensure_audio: EnsureAudio
    on_change: OnChange
    method: Method
    backup: bool
    state: Literal["idle", "connecting", "live", "retrying", "disabled"]
    last_error: str
    bytes_sent: int
    attempts: int
    dropped_packets: int
    backlog_s: float


class SourceView(BaseModel):
    """A source and how it is doing. User, password and query of the URL, and the headers' values, are not shown."""

    url: str
    headers: list[str]
    max_kbps: int
    state: Literal["idle", "connecting", "live", "retrying", "disabled"]
    last_error: str
    attempts: int


class ChannelView(BaseModel):
    name: str
    state: Literal["offline", "live", "holding"]
    expected: bool
    stream_key: str
    read_key: str
    publish_url: str
    hls_publish_url: str
    play_url: str
    playback_url: str
    source: SourceView | None
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
