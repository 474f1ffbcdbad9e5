"""What a store takes from a bare client: ``python -m tests.support.s3_rate ENDPOINT BUCKET OBJECTS BYTES WORKERS``.

Each object is put if it is not there and looked at afterwards, as any careful writer would. Prints objects a second.
"""

import hashlib
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config

from tests.support.s3 import REGION


def main(endpoint: str, bucket: str, objects: int, size: int, workers: int) -> int:
    config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, max_pool_connections=workers)
    client = boto3.session.Session().client("s3", endpoint_url=endpoint, region_name=REGION, config=config)
    folder = f"rate-{os.getpid()}"

    def write(number: int) -> None:
        data = os.urandom(size)
        key = f"{folder}/{number:06d}.m4s"
        client.put_object(Bucket=bucket, Key=key, Body=data, IfNoneMatch="*")
        found = client.head_object(Bucket=bucket, Key=key)
        assert found["ETag"].strip('"') == hashlib.md5(data, usedforsecurity=False).hexdigest()

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(write, range(workers * 2)))  # connections and caches
        started = time.monotonic()
        list(pool.map(write, range(workers * 2, workers * 2 + objects)))
        took_s = time.monotonic() - started
    sys.stdout.write(f"{objects / took_s:.2f}\n")
    return 0


if __name__ == "__main__":
    _, where, name, *numbers = sys.argv
    sys.exit(main(where, name, *(int(number) for number in numbers)))
