"""S3: recordings in a bucket, and what it takes with real ones: rotated keys, wrong clocks, unknown checksums."""

import base64
import hashlib
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import boto3
import structlog
from botocore.auth import AUTH_TYPE_MAPS, SIGV4_TIMESTAMP, S3SigV4Auth
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from relay.archive.objects import ORPHANED_AFTER_S, StoredObject, check
from relay.config import Settings
from relay.errors import ConfigError, StoreError
from relay.redaction import known
from relay.secret import Secret

log = structlog.get_logger("relay.archive")

MULTIPART_OVER_BYTES = 16 * 1024 * 1024
MULTIPART_BYTES = 8 * 1024 * 1024  # S3 wants 5 MiB at least
RENEW_EVERY_S = 10.0  # credentials, while they are refused
CLOCK_OFF_S = 60.0  # stores bear 15 minutes
_FINAL = frozenset({"NoSuchBucket", "InvalidBucketName", "PermanentRedirect"})
_EXISTS = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict"})
_NO_CONDITIONS = frozenset({"NotImplemented", "501", "InvalidArgument", "InvalidRequest"})
_ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})
_REFUSED = frozenset({"ExpiredToken", "InvalidToken", "InvalidAccessKeyId", "SignatureDoesNotMatch"})
_OFFSET = "relay_clock_offset"

Checksums = Literal["when_supported", "when_required"]


class _OffsetAuth(S3SigV4Auth):  # type: ignore[misc]
    """Signs with the store's time, where a request says how far this machine's clock is from it."""

    def _modify_request_before_signing(self, request: Any) -> None:
        offset: timedelta = request.context.get(_OFFSET, timedelta())
        stamp = datetime.strptime(request.context["timestamp"], SIGV4_TIMESTAMP) + offset
        request.context["timestamp"] = stamp.strftime(SIGV4_TIMESTAMP)
        super()._modify_request_before_signing(request)


# botocore corrects a clock for none of its S3 requests, and takes signers from here only.
AUTH_TYPE_MAPS["s3v4"] = _OffsetAuth


class S3Store:
    """Objects in an S3 bucket, below a prefix. Credentials come from the usual AWS places.

    Before its first object is written a read-back test shows which checksums the store understands.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = archive = settings.archive
        bucket, _, prefix = archive.store.removeprefix("s3://").partition("/")
        self._bucket = bucket
        self._conditional = True
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self.where = f"s3://{bucket}/{self._prefix}"
        self._client: Any = None
        self._lock = threading.RLock()
        self._settled = False
        self._secrets: list[Secret] = []  # known for as long as they are in use
        self._offset = timedelta()  # the store's clock, less ours
        self._renewed_at = -RENEW_EVERY_S
        self.checksums: Checksums = "when_supported"
        try:
            self._connect()
        except (BotoCoreError, ValueError) as error:
            raise ConfigError(f"cannot use the object store {archive.store}: {error}") from error

    # --- objects ------------------------------------------------------------------------------------------------------

    def put(self, key: str, data: bytes, content_type: str, *, replace: bool = True) -> None:
        self._settle()
        condition = {} if replace or not self._conditional else {"IfNoneMatch": "*"}
        try:
            self._put(key, data, content_type, condition)
        except StoreError as error:
            if condition and error.kind in _EXISTS:
                return
            if not condition or error.kind not in _NO_CONDITIONS:
                raise
            self._put(key, data, content_type, {})
            self._conditional = False
            log.info("the store knows no conditional writes", store=self.where, code=error.kind)

    def holds(self, key: str, data: bytes) -> bool:
        try:
            found = self._call("head_object", key, ChecksumMode="ENABLED")
        except StoreError as error:
            if error.kind == "absent":
                return False
            raise
        if found["ContentLength"] != len(data):
            return False
        if found.get("ETag", "").strip('"') == _etag(data):
            return True
        crc32 = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
        # Encrypting stores have other ETags: without a checksum only the bytes themselves can tell.
        return found.get("ChecksumCRC32") == crc32 or self.get(key) == data

    def get(self, key: str) -> bytes:
        answer = self._call("get_object", key)
        try:
            data: bytes = answer["Body"].read()
        except (BotoCoreError, OSError) as error:
            raise StoreError(f"reading {key} broke off: {error}", "network") from error
        return data

    def head(self, key: str) -> StoredObject | None:
        try:
            return StoredObject(key, self._call("head_object", key)["ContentLength"])
        except StoreError as error:
            if error.kind == "absent":
                return None
            raise

    def listed(self, prefix: str) -> Iterator[StoredObject]:
        for page in self._pages("list_objects_v2", self._prefix + prefix, "ContinuationToken"):
            for item in page.get("Contents", ()):
                yield StoredObject(item["Key"].removeprefix(self._prefix), item["Size"])

    def delete(self, key: str) -> None:
        self._call("delete_object", key)

    def clean_up(self) -> int:
        horizon = datetime.now(UTC) + self._offset - timedelta(seconds=ORPHANED_AFTER_S)
        pages = list(self._pages("list_multipart_uploads", self._prefix, "KeyMarker", "UploadIdMarker"))
        found = [item for page in pages for item in page.get("Uploads", ()) if item["Initiated"] < horizon]
        for item in found:
            self._call("abort_multipart_upload", item["Key"].removeprefix(self._prefix), UploadId=item["UploadId"])
        return len(found)

    def _put(self, key: str, data: bytes, content_type: str, condition: dict[str, str]) -> None:
        if len(data) <= MULTIPART_OVER_BYTES:
            self._call("put_object", key, Body=data, ContentType=content_type, **self._proof(data), **condition)
            return
        upload = {"UploadId": self._call("create_multipart_upload", key, ContentType=content_type)["UploadId"]}
        parts = []
        try:
            for number, part in enumerate(_parts(data), 1):
                answer = self._call("upload_part", key, Body=part, PartNumber=number, **upload, **self._proof(part))
                kept = {name: answer[name] for name in ("ETag", "ChecksumCRC32") if name in answer}
                parts.append({"PartNumber": number, **kept})
            self._call("complete_multipart_upload", key, MultipartUpload={"Parts": parts}, **upload, **condition)
        except StoreError:
            try:
                self._call("abort_multipart_upload", key, **upload)
            except StoreError as error:
                log.warning("an upload left half done, for clean-up at a later start", key=key, error=str(error))
            raise

    def _proof(self, data: bytes) -> dict[str, str]:
        """What lets the store refuse damaged bytes, where botocore does not send a CRC32 itself."""
        if self.checksums == "when_supported":
            return {}
        return {"ContentMD5": base64.b64encode(_md5(data)).decode()}

    # --- what stores differ in ----------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Find out, once, whether the store keeps checksum trailers out of the objects. Raises StoreError."""
        with self._lock:
            if self._settled:
                return
            self._settled = True  # for the test's own requests
            try:
                check(self)
            except StoreError as error:
                self._settled = False
                if not _may_be_checksums(error):
                    raise
                self._settle_without(error)

    def _settle_without(self, reason: StoreError) -> None:
        self.checksums, self._settled = "when_required", True
        self._connect()
        try:
            check(self)
        except StoreError:
            self.checksums, self._settled = "when_supported", False
            self._connect()
            raise
        log.warning(
            "the store does not take checksum trailers; Content-MD5 is sent instead",
            store=self.where,
            reason=str(reason),
        )

    def _mended(self, client: Any, error: ClientError) -> bool:
        """Whether a refused request is worth another try: with the store's time, or with other credentials."""
        code, status = _code(error), _status(error)
        if status not in (401, 403) and code not in _REFUSED and code != "RequestTimeTooSkewed":
            return False
        with self._lock:
            if self._client is not client:
                return True  # another thread was quicker
            return self._clock_mended(error) or self._credentials_renewed()

    def _clock_mended(self, error: ClientError) -> bool:
        date = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
        try:
            offset = parsedate_to_datetime(date) - datetime.now(UTC)
        except ValueError:
            return False
        if abs(offset - self._offset) < timedelta(seconds=CLOCK_OFF_S):
            return False
        seconds = round(offset.total_seconds())
        log.warning("this machine's clock is off; requests are signed with the store's time", seconds=-seconds)
        self._offset = offset
        return True

    def _credentials_renewed(self) -> bool:
        if time.monotonic() - self._renewed_at < RENEW_EVERY_S:
            return False
        self._renewed_at = time.monotonic()
        before = self._credentials
        self._connect()
        if self._credentials == before:
            return False
        log.info("credentials were read again", store=self.where)
        return True

    # --- requests -----------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        """Make a client from what environment and credential files say now. Raises BotoCoreError, ValueError."""
        archive = self._settings
        config = Config(
            connect_timeout=5,
            read_timeout=60,
            retries={"total_max_attempts": 1},  # the uploader retries, with its own patience
            max_pool_connections=archive.uploads + 4,
            request_checksum_calculation=self.checksums,
            response_checksum_validation=self.checksums,
            s3={"addressing_style": "path" if archive.s3_path_style else "auto"},
            signature_version="s3v4",
        )
        session = boto3.session.Session()
        client: Any = session.client(
            "s3",
            endpoint_url=archive.s3_endpoint or None,
            region_name=archive.s3_region or None,
            config=config,
        )
        client.meta.events.register("before-sign.s3", self._tell_time)
        found = session.get_credentials()
        self._credentials = None if found is None else tuple(found.get_frozen_credentials())
        _, *secrets = self._credentials or ("",)  # the first is the name of the key
        self._secrets = [known.know(Secret(text)) for text in secrets if text]
        before, self._client = self._client, client
        if before is not None:
            before.close()  # requests under way end first

    def _tell_time(self, request: Any, **_: Any) -> None:
        request.context[_OFFSET] = self._offset

    def _call(self, method: str, key: str, **arguments: Any) -> Any:
        def call(client: Any) -> Any:
            return getattr(client, method)(Bucket=self._bucket, Key=self._prefix + key, **arguments)

        return self._answer(call, key)

    def _pages(self, method: str, prefix: str, *markers: str) -> Iterator[Any]:
        """Every page of a listing; its ``markers`` go on where the page before ended."""
        place: dict[str, str] = {}

        def call(client: Any) -> Any:
            return getattr(client, method)(Bucket=self._bucket, Prefix=prefix, **place)

        while True:
            page = self._answer(call, prefix)
            yield page
            if not page.get("IsTruncated"):
                return
            place = {name: page[f"Next{name}"] for name in markers}

    def _answer(self, call: Callable[[Any], Any], what: str) -> Any:
        """What ``call`` answers, on a second try where the first can be mended. Raises StoreError."""
        try:
            client = self._client
            try:
                return call(client)
            except ClientError as error:
                if not self._mended(client, error):
                    raise
                return call(self._client)
        except ClientError as error:
            raise self._told(error, what) from error
        except NoCredentialsError as error:
            self._renew_quietly()
            raise StoreError(
                f"no credentials for {self.where}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", "credentials"
            ) from error
        except (BotoCoreError, OSError) as error:
            words = f"cannot reach {self.where}: {error}"
            if self._settings.s3_endpoint:
                words += f"; is RELAY_ARCHIVE__S3_ENDPOINT={self._settings.s3_endpoint} right?"
            raise StoreError(words, "network") from error

    def _renew_quietly(self) -> None:
        """Credentials may be there at the next try."""
        with self._lock:
            self._credentials_renewed()

    def _told(self, error: ClientError, what: str) -> StoreError:
        """The error with what to do about it, for those who read logs."""
        code, status = _code(error), _status(error)
        if code in _ABSENT:
            return StoreError(f"there is no object {what} in {self.where}", "absent", transient=False)
        words = str(error.response.get("Error", {}).get("Message", "")) or code
        if code == "NoSuchBucket":
            words = f"the bucket {self._bucket} does not exist; create it, or correct RELAY_ARCHIVE__STORE"
        elif code in _REFUSED or status in (401, 403):
            words += "; check the AWS credentials, and that they may read, write, list and delete there"
        return StoreError(f"{self.where}: {words} ({code})", code, transient=code not in _FINAL)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "unknown"))


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _may_be_checksums(error: StoreError) -> bool:
    """Whether a read-back test failed in a way that stores fail in which do not know trailers."""
    if error.kind == "read_back":
        return True
    cause = error.__cause__
    if not isinstance(cause, ClientError) or error.kind in _FINAL:
        return False
    return _status(cause) in (400, 403, 405, 411, 501)


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _parts(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), MULTIPART_BYTES):
        yield data[start : start + MULTIPART_BYTES]


def _etag(data: bytes) -> str:
    """The ETag of ``data``: its MD5, or where it goes up in parts the MD5 of theirs, and how many they are."""
    if len(data) <= MULTIPART_OVER_BYTES:
        return _md5(data).hex()
    digests = [_md5(part) for part in _parts(data)]
    return f"{_md5(b''.join(digests)).hex()}-{len(digests)}"
