"""The fields of what people send: names, keys, addresses and headers, each with words that say what would fit."""

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints, ValidationError

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
