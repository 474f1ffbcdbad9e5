"""What fuzzing found worth keeping, tried again: every kept input by its target."""

import contextlib

import pytest

from relay.config import LimitSettings
from relay.errors import MediaError
from relay.ingest.demux import Demuxer
from tests.fuzz import TARGETS
from tests.fuzz.engine import ENDS_CHILD, KEPT, corpus
from tests.fuzz.seeds import SEEDS

MOST_BYTES = 1_000_000


@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if not target.is_contained])
def test_every_kept_input_is_taken_or_refused(name: str) -> None:
    run, tried = TARGETS[name].load(), 0
    for path in sorted(corpus(name).iterdir()):
        try:
            run(path.read_bytes())
        except Exception as error:
            raise AssertionError(f"{path} breaks it") from error
        tried += 1
    for data in SEEDS[name]():
        run(data)
    assert tried > 5, "the corpus is not there"


async def test_every_kept_segment_is_read_or_refused_and_the_next_one_is_read() -> None:
    """In the child that the relay uses; some of them end it, and whoever comes next does not notice."""
    demuxer, deaths = Demuxer(LimitSettings(), read_s=60), 0
    good = next(SEEDS["demux"]())
    try:
        for path in sorted(corpus("demux").iterdir()):
            before = demuxer.stats.restarts
            with contextlib.suppress(MediaError):
                await demuxer.demux(*_parts(path.read_bytes()))
            ended = demuxer.stats.restarts > before
            assert ended <= path.name.startswith(ENDS_CHILD), path
            deaths += ended
        assert (await demuxer.demux(*_parts(good))).tags
    finally:
        await demuxer.close()
    assert deaths <= 2


def _parts(data: bytes) -> tuple[bytes, bytes]:
    """(segment, init segment) of an input of the demux target."""
    split = 2 + int.from_bytes(data[:2], "big")
    return data[split:], data[2:split]


def test_what_is_kept_is_small() -> None:
    sizes = {path: path.stat().st_size for path in KEPT.rglob("*") if path.is_file()}
    assert {path.parent.name for path in sizes} == set(TARGETS)
    assert sum(sizes.values()) < MOST_BYTES
    assert all(size <= TARGETS[path.parent.name].most for path, size in sizes.items())
