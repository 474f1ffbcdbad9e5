"""Fuzzing: each target hands a stranger's bytes to one parser and checks what must hold whatever they are.

``scripts/fuzz`` runs them under atheris, guided by coverage; what they found worth keeping, and every input that ever
broke one, lies in ``tests/data/fuzz/<target>/`` and is replayed by ``tests/test_fuzz.py``.
"""

from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

Run = Callable[[bytes], None]


class Target(NamedTuple):
    """``fuzz_NAME`` of ``module`` takes the bytes; it raises only where the relay is wrong.

    ``most``: bytes worth trying. ``rss_mb``: what the fuzzing process may hold; PyAV itself takes most of it.
    ``is_contained``: the relay does the same in a child process, which may die of it.
    """

    name: str
    module: str
    most: int
    rss_mb: int = 512
    is_contained: bool = False

    def load(self) -> Run:
        """The function that takes the bytes."""
        found: Run = getattr(import_module(f"tests.fuzz.{self.module}"), f"fuzz_{self.name}")
        return found


TARGETS = {
    target.name: target
    for target in (
        Target("handshake", "wire", 5000),
        Target("chunk", "wire", 8192),
        Target("amf0", "wire", 4096),
        Target("message", "wire", 2048),
        Target("conversation", "wire", 4096),
        Target("flv", "media", 8192),
        Target("mp4", "media", 4096),
        Target("fragments", "media", 4096),
        Target("m3u8", "files", 8192),
        Target("spool", "files", 8192),
        Target("package", "made", 16384, 1024),
        Target("transport", "made", 16384, 1024),
        Target("picture", "made", 16384, 1024),
        Target("demux", "media", 32768, 1536, is_contained=True),
    )
}
