"""Object stores: a local directory, or anything that speaks S3. Every method blocks; callers use threads."""

import base64
import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from relay.config import Settings
from relay.errors import ConfigError, StoreError
from relay.files import sync_directory

_FINAL = frozenset({"NoSuchBucket", "InvalidBucketName", "PermanentRedirect"})
_EXISTS = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict"})
_NO_CONDITIONS = frozenset({"NotImplemented", "501", "InvalidArgument", "InvalidRequest"})
_ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as the store describes it: its size in bytes."""

    key: str
    size: int


class Store(Protocol):
    """Where recordings are safe. Keys look like ``channel/recording/name``. All methods raise StoreError."""

    where: str

    def put(self, key: str, data: bytes, content_type: str, *, replace: bool = True) -> None:
        """Store ``data``; returns when the store has it for good. Without ``replace``, what is there already stays."""

    def holds(self, key: str, data: bytes) -> bool:
        """Whether the store has exactly ``data`` under ``key``, by size and checksum."""

    def get(self, key: str) -> bytes:
        """The whole object. StoreError of kind ``absent`` where there is none."""

    def head(self, key: str) -> StoredObject | None:
        """What the store has under ``key``, or None."""

    def listed(self, prefix: str) -> Iterator[StoredObject]:
        """Every object whose key begins with ``prefix``."""

    def delete(self, key: str) -> None:
        """Remove an object; none there is no error."""

    def clean_up(self) -> int:
        """Remove what broken uploads left behind; how many there were."""


class FileStore:
    """Objects as files below ``root``, each whole or absent whatever happens."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self.where = f"file:{self._root}"

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if any(part in ("", ".", "..") or "\0" in part for part in parts):
            raise StoreError(f"not an object key: {key!r}", "key", transient=False)
        return self._root.joinpath(*parts)

    def put(self, key: str, data: bytes, content_type: str, *, replace: bool = True) -> None:
        path = self._path(key)
        if not replace and path.exists():
            return
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            self._make_directories(path.parent)
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync_directory(path.parent)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise StoreError(f"cannot write {path}: {error.strerror}", "disk") from error

    def holds(self, key: str, data: bytes) -> bool:
        found = self.head(key)
        return found is not None and found.size == len(data) and self.get(key) == data

    def _make_directories(self, path: Path) -> None:
        if not path.is_dir():
            self._make_directories(path.parent)
            path.mkdir(exist_ok=True)
            sync_directory(path.parent)

    def get(self, key: str) -> bytes:
        try:
            return self._path(key).read_bytes()
        except FileNotFoundError as error:
            raise StoreError(f"there is no object {key}", "absent", transient=False) from error
        except OSError as error:
            raise StoreError(f"cannot read {key}: {error.strerror}", "disk") from error

    def head(self, key: str) -> StoredObject | None:
        try:
            return StoredObject(key, self._path(key).stat().st_size)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"cannot look at {key}: {error.strerror}", "disk") from error

    def listed(self, prefix: str) -> Iterator[StoredObject]:
        for path in sorted(self._root.rglob("*")):
            key = path.relative_to(self._root).as_posix()
            if key.startswith(prefix) and path.is_file() and not path.name.startswith("."):
                yield StoredObject(key, path.stat().st_size)

    def clean_up(self) -> int:
        return 0

    def delete(self, key: str) -> None:
        try:
            path = self._path(key)
            path.unlink(missing_ok=True)
            while (path := path.parent) != self._root and not any(path.iterdir()):
                path.rmdir()
        except FileNotFoundError:
            return  # its folder is gone as well
        except OSError as error:
            raise StoreError(f"cannot delete {key}: {error.strerror}", "disk") from error


class S3Store:
    """Objects in an S3 bucket, below a prefix. Credentials come from the usual AWS places."""

    def __init__(self, settings: Settings) -> None:
        archive = settings.archive
        bucket, _, prefix = archive.store.removeprefix("s3://").partition("/")
        self._bucket = bucket
        self._conditional = True
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self.where = f"s3://{bucket}/{self._prefix}"
        config = Config(
            connect_timeout=5,
            read_timeout=60,
            retries={"total_max_attempts": 1},  # the uploader retries, with its own patience
            max_pool_connections=archive.uploads + 4,
            # Newer defaults may end up as trailers inside the object on stores that do not know them.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path" if archive.s3_path_style else "auto"},
        )
        try:
            self._client: Any = boto3.session.Session().client(
                "s3",
                endpoint_url=archive.s3_endpoint or None,
                region_name=archive.s3_region or None,
                config=config,
            )
        except (BotoCoreError, ValueError) as error:
            raise ConfigError(f"cannot use the object store {archive.store}: {error}") from error

    def put(self, key: str, data: bytes, content_type: str, *, replace: bool = True) -> None:
        digest = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        condition = {} if replace or not self._conditional else {"IfNoneMatch": "*"}
        try:
            self._call("put_object", key, Body=data, ContentType=content_type, ContentMD5=digest, **condition)
        except StoreError as error:
            if condition and error.kind in _EXISTS:
                return
            if not condition or error.kind not in _NO_CONDITIONS:
                raise
            self._conditional = False
            self.put(key, data, content_type)

    def holds(self, key: str, data: bytes) -> bool:
        try:
            found = self._call("head_object", key)
        except StoreError as error:
            if error.kind == "absent":
                return False
            raise
        if found["ContentLength"] != len(data):
            return False
        if found.get("ETag", "").strip('"') == hashlib.md5(data, usedforsecurity=False).hexdigest():
            return True
        # Encrypting stores have other ETags: only the bytes themselves can tell.
        return self.get(key) == data

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
        token: dict[str, str] = {}
        while True:
            page = self._answer(
                lambda: self._client.list_objects_v2(
                    Bucket=self._bucket,
                    Prefix=self._prefix + prefix,
                    **token,  # noqa: B023 - called at once
                ),
                prefix,
            )
            for item in page.get("Contents", ()):
                yield StoredObject(item["Key"].removeprefix(self._prefix), item["Size"])
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def clean_up(self) -> int:
        return 0

    def delete(self, key: str) -> None:
        self._call("delete_object", key)

    def _call(self, method: str, key: str, **arguments: Any) -> Any:
        operation = getattr(self._client, method)
        return self._answer(lambda: operation(Bucket=self._bucket, Key=self._prefix + key, **arguments), key)

    def _answer(self, call: Any, what: str) -> Any:
        try:
            return call()
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", "unknown"))
            if code in _ABSENT:
                raise StoreError(f"there is no object {what} in {self.where}", "absent", transient=False) from error
            words = str(error.response.get("Error", {}).get("Message", "")) or code
            if code == "NoSuchBucket":
                words = f"the bucket {self._bucket} does not exist; create it, or correct RELAY_ARCHIVE__STORE"
            raise StoreError(f"{self.where}: {words} ({code})", code, transient=code not in _FINAL) from error
        except NoCredentialsError as error:
            raise StoreError(
                f"no credentials for {self.where}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", "credentials"
            ) from error
        except (BotoCoreError, OSError) as error:
            raise StoreError(f"cannot reach {self.where}: {error}", "network") from error


def make_store(settings: Settings) -> Store:
    """The store of ``archive.store``, which must not be ``off``. Raises ConfigError."""
    target = settings.archive.store
    if target.startswith("s3://"):
        return S3Store(settings)
    return FileStore(settings.data_dir / target.removeprefix("file:"))


def check(store: Store) -> None:
    """Write an object, read it back, compare, delete it. Raises StoreError that says what went wrong."""
    key = "relay-check/read-back"
    data = os.urandom(4096)
    store.put(key, data, "application/octet-stream")
    read = store.get(key)
    store.delete(key)
    if read != data:
        raise StoreError(
            f"{store.where} gives back {len(read)} bytes that are not the {len(data)} written to it", "read_back"
        )
