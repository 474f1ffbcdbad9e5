"""The shapes of the API: what people send (strict) and what they get."""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from relay.control.fields import (
    BackupUrl,
    HeaderName,
    HeaderValue,
    Key,
    Name,
    PlatformKey,
    PlatformName,
    SlateName,
    SourceUrl,
    Url,
)
from relay.database import ChannelRow


class Sent(BaseModel):
    """What a client sends: unknown fields are errors, and so is text for a number, or yes for true."""

    model_config = ConfigDict(extra="forbid", strict=True)


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
    url: Url = Field(default="", repr=False)  # empty: the platform's own
    key: PlatformKey = Field(default="", repr=False)
    enabled: bool = True
    hold: HoldOptions = Field(default_factory=HoldOptions)
    fit: FitOptions | None = None
    ensure_audio: EnsureAudio = "auto"
    on_change: OnChange = "auto"
    method: Method = "PUT"  # how HLS is uploaded
    # HLS only: the same to a second place, the platform's own or this URL
    backup: bool | BackupUrl = Field(default=False, repr=False)


class DestinationChange(Sent):
    platform: PlatformName | None = None
    url: Url | None = Field(default=None, repr=False)
    key: PlatformKey | None = Field(default=None, repr=False)
    enabled: bool | None = None
    hold: HoldOptions | None = None
    fit: FitOptions | None = None  # null: none any more
    ensure_audio: EnsureAudio | None = None
    on_change: OnChange | None = None
    method: Method | None = None
    backup: bool | BackupUrl | None = Field(default=None, repr=False)


class ArchiveOptions(Sent):
    """How a channel's recordings are treated. None: for ever, and however much. The highest priority pauses last."""

    priority: int = Field(default=0, ge=-100, le=100)
    keep_days: float | None = Field(default=None, gt=0, le=100_000)
    keep_gb: float | None = Field(default=None, gt=0, le=1_000_000)


class SourceOptions(Sent):
    """Where a channel pulls its stream from: HLS by http(s)://, or rtmp(s)://host/app/name.

    ``headers`` go to the URL's own host only. ``max_kbps``: of the variant that is chosen; 0: the best.
    """

    url: SourceUrl = Field(repr=False)
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict, max_length=20, repr=False)
    max_kbps: int = Field(default=0, ge=0, le=1_000_000)

    @model_validator(mode="after")
    def _fits(self) -> "SourceOptions":
        if self.headers and self.url.startswith("rtmp"):
            raise ValueError("headers are for http and https only")
        if "@" in urlsplit(self.url).netloc and any(name.lower() == "authorization" for name in self.headers):
            raise ValueError("give a user in the URL or an Authorization header, not both")
        return self


Viewers = Literal["off", "signed", "public"]
"""Who may watch a channel over HTTP: nobody but the operator, whoever has a link or the read key, everybody."""


class NewChannel(Sent):
    name: Name
    stream_key: Key | None = Field(default=None, repr=False)  # made when left out
    source: SourceOptions | None = None
    expected: bool = False  # to be live: monitoring warns while it is not
    viewers: Viewers = "signed"
    archive: ArchiveOptions = Field(default_factory=ArchiveOptions)
    destinations: list[NewDestination] = Field(default_factory=list, max_length=50)


class ChannelChange(Sent):
    stream_key: Key | None = Field(default=None, repr=False)
    source: SourceOptions | None = None  # null: none any more
    expected: bool | None = None
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


def is_expected(row: ChannelRow) -> bool:
    """Whether the channel is meant to be live now."""
    return row.options.get("expected") is True


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
    """Something in the stream that does not suit a destination (empty: anybody), and what to do."""

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
    stream_key: str = Field(repr=False)
    read_key: str = Field(repr=False)
    publish_url: str
    hls_publish_url: str = Field(repr=False)
    play_url: str
    playback_url: str
    source: SourceView | None
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
