"""Settings: one TOML file plus RELAY_* environment variables, nested with two underscores, checked at start."""

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from relay.errors import ConfigError


def split_address(text: str) -> tuple[str, int]:
    """``HOST:PORT``, ``:PORT`` or ``[V6]:PORT`` as (host, port). Raises ValueError with an example."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ValueError(f"{text!r} is not an address; write HOST:PORT, for example 0.0.0.0:1935")
    return host.strip("[]") or "0.0.0.0", int(port)


def _check_address(value: object) -> object:
    if isinstance(value, str):
        split_address(value)
    return value


Address = Annotated[str, BeforeValidator(_check_address)]


CARRIER = 10


class Section(BaseModel):
    """A table of the settings file: unknown keys are errors, values do not change after start."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RtmpSettings(Section):
    """Where encoders come in."""

    listen: Address = "0.0.0.0:1935"
    tls_listen: Address = "0.0.0.0:1936"
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    public_host: str = ""  # what publish URLs name, of RTMP and HLS; empty: this machine's address
    tick_ms: int = Field(100, ge=20, le=200)
    tick_most_ms: int = Field(200, ge=20, le=200)  # as short as tick_ms on an idle relay, as long as this on a busy one


class IngestHttpSettings(Section):
    """Where encoders upload HLS segments."""

    listen: Address = "0.0.0.0:8081"
    tls_certificate: Path | None = None
    tls_key: Path | None = None


class HttpSettings(Section):
    """API, playback, console and metrics."""

    listen: Address = "127.0.0.1:8080"
    public_url: str = ""  # what playback URLs begin with; empty: http:// + listen
    behind_proxy: bool = False
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    cors_origins: tuple[str, ...] = ()  # whose pages may play from here; * is everybody's
    share_listen: str = ""  # where phones reach streamers' pages (/s/), and nothing else; empty: only with the rest

    @field_validator("share_listen")
    @classmethod
    def _is_address(cls, value: str) -> str:
        if value:
            split_address(value)
        return value


class LiveSettings(Section):
    """Live playback: how far back viewers may go, and how much of it a channel may keep in memory."""

    dvr_s: float = Field(1800.0, ge=10, le=86_400)
    memory_bytes: int = Field(32 * 1024 * 1024, ge=1024 * 1024)
    ended_s: float = Field(600.0, ge=0)  # how long what has ended can still be watched to its end


class ArchiveSettings(Section):
    """Where recordings go: ``file:DIR`` (relative to the data directory), ``s3://bucket/prefix`` or ``off``."""

    store: str = "file:archive"
    segment_s: float = Field(6.0, ge=1, le=60)
    s3_endpoint: str = ""
    s3_region: str = ""
    s3_path_style: bool = False
    uploads: int = Field(4, ge=1, le=64)
    merge_window_s: float = Field(1800.0, ge=0)  # a publisher lost and back within this goes on with its recording
    keep_after_upload_s: float = Field(600.0, ge=0)
    reserve_percent: float = Field(5.0, ge=0, le=90)  # of the spool's disk, kept free; the larger of this
    reserve_bytes: int = Field(1024**3, ge=0)  # and this
    thumbnail_every_s: float = Field(60.0, ge=0)  # 0: none
    manifest_every_s: float = Field(3600.0, ge=1)

    @field_validator("store")
    @classmethod
    def _known_store(cls, value: str) -> str:
        if value == "off" or (value.startswith("file:") and len(value) > 5):
            return value
        if value.startswith("s3://") and len(value.split("/")[2]) >= 3:
            return value
        raise ValueError("write file:DIR, s3://BUCKET/PREFIX (bucket names have 3 or more characters) or off")


class OutboundSettings(Section):
    """What the relay may dial."""

    allow_private: bool = False
    ca_file: Path | None = None  # more certificate authorities to trust for rtmps:// and https://


class LimitSettings(Section):
    """Limits on what strangers may cost."""

    handshake_s: float = Field(10.0, gt=0)
    first_media_s: float = Field(20.0, gt=0)
    media_stalled_s: float = Field(5.0, gt=0)
    media_closed_s: float = Field(60.0, gt=0)
    pre_auth_bytes: int = Field(65536, ge=8192)
    chunk_size_min: int = Field(128, ge=1)
    load: float = Field(0.85, gt=0, le=1)  # share of a processor that live media may use before nobody new gets in
    video_message_bytes: int = Field(4 * 1024 * 1024, ge=65536)
    audio_message_bytes: int = Field(256 * 1024, ge=4096)
    command_message_bytes: int = Field(64 * 1024, ge=4096)
    chunk_streams: int = Field(64, ge=8)
    partial_bytes: int = Field(8 * 1024 * 1024, ge=65536)
    amf_depth: int = Field(16, ge=4)
    amf_nodes: int = Field(1024, ge=64)
    amf_string_bytes: int = Field(16384, ge=256)
    commands_per_s: float = Field(50.0, gt=0)
    commands_burst: int = Field(200, ge=10)
    answer_bytes_per_s: int = Field(65536, ge=4096)  # what a destination may say, and a source beside its media
    backlog_s: float = Field(10.0, gt=0)
    backlog_bytes: int = Field(8 * 1024 * 1024, ge=65536)
    late_s: float = Field(300.0, gt=0)  # what an HLS destination is owed may wait for it
    late_bytes: int = Field(64 * 1024 * 1024, ge=1024 * 1024)
    dial_s: float = Field(5.0, gt=0)
    write_stall_s: float = Field(10.0, gt=0)
    retry_first_s: float = Field(1.0, gt=0)
    retry_most_s: float = Field(30.0, gt=0)
    connections: int = Field(1000, ge=1)
    connections_unauthenticated: int = Field(200, ge=1)
    connections_per_address: int = Field(50, ge=1)
    connects_per_s: float = Field(1.0, gt=0)  # from one address that has shown no key, once it came as often as that
    tls_handshakes_per_s: float = Field(100.0, gt=0)  # with strangers, at each door: one takes about a millisecond
    shared_addresses: bool = False  # phones behind one carrier's address: CARRIER times as many connections from each
    connection_share: float = Field(0.1, gt=0, le=1)  # of a core, that one connection may take in the long run
    auth_failures_per_minute: int = Field(10, ge=1)
    hls_segment_bytes: int = Field(20 * 1024 * 1024, ge=65536)
    hls_segment_s: float = Field(12.0, ge=1)
    hls_playlist_bytes: int = Field(256 * 1024, ge=4096)
    hls_window_s: float = Field(6.0, gt=0)  # how long a segment waits for those before it, at most
    hls_window_segments: int = Field(3, ge=1)  # and how many wait
    http_body_bytes: int = Field(1024 * 1024, ge=1024)
    http_deadline_s: float = Field(10.0, gt=0)
    metric_series: int = Field(10_000, ge=1000)
    shutdown_s: float = Field(10.0, gt=0)
    hls_redirects: int = Field(0, ge=0, le=5)

    @property
    def most_per_address(self) -> int:
        """Connections from one address, in all. Wrong keys are counted as strictly whoever shares it."""
        return self.connections_per_address * (CARRIER if self.shared_addresses else 1)

    @property
    def most_connects_per_s(self) -> float:
        """From one address that has shown no key."""
        return self.connects_per_s * (CARRIER if self.shared_addresses else 1)


class HoldSettings(Section):
    """How long a stream is kept for a publisher that vanished without saying goodbye."""

    limit_s: float = Field(120.0, ge=0)


class LogSettings(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class Settings(BaseSettings):
    """Everything a server is told at start. Channels and destinations are state, not settings."""

    model_config = SettingsConfigDict(
        env_prefix="RELAY_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    data_dir: Path = Path("data")
    database: str = ""  # an SQLAlchemy URL; empty: SQLite in the data directory
    rtmp: RtmpSettings = RtmpSettings()
    ingest_http: IngestHttpSettings = IngestHttpSettings()
    http: HttpSettings = HttpSettings()
    live: LiveSettings = LiveSettings()
    archive: ArchiveSettings = ArchiveSettings()
    outbound: OutboundSettings = OutboundSettings()
    limits: LimitSettings = LimitSettings()
    hold: HoldSettings = HoldSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file (whose content arrives as init values)."""
        return env_settings, init_settings


_SECTIONS = [name for name, field in Settings.model_fields.items() if isinstance(field.default, BaseModel)]


def load_settings(path: Path | None = None) -> Settings:
    """Read settings from ``path`` (TOML) and the environment. Raises ConfigError naming each wrong key."""
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            raise ConfigError(f"no settings file {path}; start from deploy/relay.example.toml") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
            raise ConfigError(f"{path}: {error}") from error
    for name in os.environ:
        section, nested, _ = name.removeprefix("RELAY_").lower().partition("__")
        if name.startswith("RELAY_") and nested and section not in _SECTIONS:
            raise ConfigError(f"{name}: there is no section {section!r}; those there are: {', '.join(_SECTIONS)}")
    try:
        return Settings(**values)
    except ValidationError as error:
        lines = [f"  {'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()]
        raise ConfigError("settings do not fit:\n" + "\n".join(lines)) from error
