"""A real S3 server (SeaweedFS) with a bucket, credentials where programs look for them, and its objects to read."""

import asyncio
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.support.process import Process, Processes, free_port, wait_for_port
from tests.support.recording import Recording, read_recording

WEED = Path(sys.executable).with_name("weed")
REGION = "us-east-1"


class S3Server:
    """One running server. ``settings`` are a relay's, as environment names without ``RELAY_``."""

    errors = (BotoCoreError, ClientError)
    """What its methods raise where it refuses, or has no such object."""

    def __init__(self, processes: Processes, folder: Path, prefix: str) -> None:
        self._processes = processes
        self._folder = folder
        self._ports = [free_port() for _ in range(12)]
        self._process: Process | None = None
        self._clients: dict[str, Any] = {}  # by secret key
        self.bucket = "field-relay"
        self.prefix = prefix
        self.access_key = "relay"
        self.secret_key = secrets.token_hex(20)
        self.endpoint = f"http://127.0.0.1:{self._ports[0]}"
        self.settings = {
            "ARCHIVE__STORE": f"s3://{self.bucket}/{prefix}",
            "ARCHIVE__S3_ENDPOINT": self.endpoint,
            "ARCHIVE__S3_REGION": REGION,
            "ARCHIVE__S3_PATH_STYLE": "true",
        }

    @property
    def credentials(self) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}

    def client(self) -> Any:
        """One that may be shared; made once for each pair of credentials, for that takes a third of a second."""
        made = self._clients.get(self.secret_key)
        if made is None:
            made = self._clients[self.secret_key] = boto3.session.Session().client(
                "s3",
                endpoint_url=self.endpoint,
                region_name=REGION,
                aws_access_key_id=self.access_key,
                aws_secret_access_key=self.secret_key,
                config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
            )
        return made

    async def start(self) -> None:
        """Start it, on the data it had, and return once the bucket answers."""
        s3, *ports = self._ports
        names = ("s3.port.grpc", "s3.port.iceberg", "s3.port.lance", "master.port", "master.port.grpc", "filer.port")
        names = (*names, "filer.port.grpc", "volume.port", "volume.port.grpc", "admin.port", "admin.port.grpc")
        self._folder.mkdir(parents=True, exist_ok=True)
        self._process = self._processes.start(
            WEED,
            "mini",
            f"-dir={self._folder}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-webdav=false",
            "-admin.ui=false",
            "-s3.autoCreateBucket=false",
            "-master.telemetry=false",
            f"-filer.localSocket={self._folder}/filer.sock",
            f"-s3.port={s3}",
            *(f"-{name}={port}" for name, port in zip(names, ports, strict=True)),
            name="weed",
            env=self.credentials,
            cwd=self._folder,
        )
        await wait_for_port(s3, self._process, 60)
        until = time.monotonic() + 60
        while True:
            try:
                await asyncio.to_thread(self._make_bucket)
            except (BotoCoreError, ClientError) as error:
                if not self._process.running or time.monotonic() > until:
                    raise AssertionError(f"no bucket: {error}\n{self._process.tail()}") from error
                await asyncio.sleep(0.1)
            else:
                return

    def _make_bucket(self) -> None:
        client = self.client()
        try:
            client.create_bucket(Bucket=self.bucket)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("BucketAlreadyExists", "BucketAlreadyOwnedByYou"):
                raise
        # Buckets answer before their volumes take data.
        client.put_object(Bucket=self.bucket, Key="ready", Body=b"ready")

    def kill(self) -> None:
        """End it at once, as a power cut would; ``start`` brings it back."""
        if self._process is not None:
            self._process.kill()

    def keys(self) -> list[str]:
        """Every object below the prefix, without it."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix)
        keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
        return [key.removeprefix(self.prefix).lstrip("/") for key in keys]

    def object(self, key: str) -> bytes:
        """One object below the prefix."""
        answer = self.client().get_object(Bucket=self.bucket, Key=f"{self.prefix}/{key}")
        data: bytes = answer["Body"].read()
        return data

    def read(self, folder: str) -> Recording:
        """The recording whose objects are below ``folder``."""
        return read_recording(lambda name: self.object(f"{folder}/{name}"))

    async def read_whole(self, folder: str, within: float = 30.0) -> Recording:
        """As ``read``, once its playlist has an end: it follows the last segment."""
        until = time.monotonic() + within
        while True:
            recording = await asyncio.to_thread(self.read, folder)
            if "#EXT-X-ENDLIST" in recording.playlist:
                return recording
            assert time.monotonic() < until, f"the playlist of {folder} has no end after {within} s"
            await asyncio.sleep(0.1)

    def url(self, key: str) -> str:
        """A link any program can read the object by, for an hour."""
        parameters = {"Bucket": self.bucket, "Key": f"{self.prefix}/{key}"}
        link: str = self.client().generate_presigned_url("get_object", Params=parameters, ExpiresIn=3600)
        return link


@asynccontextmanager
async def serve(processes: Processes, folder: Path, prefix: str = "archive") -> AsyncIterator[S3Server]:
    """A server for the time of the ``with``; its credentials are in this process's environment meanwhile."""
    server = S3Server(processes, folder / "s3", prefix)
    before = {name: os.environ.get(name) for name in server.credentials}
    os.environ.update(server.credentials)
    try:
        await server.start()
        yield server
    finally:
        server.kill()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
