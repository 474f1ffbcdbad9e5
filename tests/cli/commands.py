"""Runs the relay command against a data directory and a port, as a person would."""

import asyncio
import os
import sys
from pathlib import Path

RELAY = str(Path(sys.executable).with_name("relay"))


async def relay(*words: str, data: Path, port: int = 9, stdin: bytes = b"", columns: int = 160) -> tuple[int, str, str]:
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("RELAY_")},
        "RELAY_DATA_DIR": str(data),
        "RELAY_HTTP__LISTEN": f"127.0.0.1:{port}",
        "COLUMNS": str(columns),
    }
    process = await asyncio.create_subprocess_exec(
        RELAY, *words, env=environment,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(stdin), 60)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()
