"""Subscription: live delivery, bounded backlog, drop to the next keyframe, a guest's fault stays the guest's."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from relay.hub import BacklogLimit, Batch, Stream, Subscription
from relay.media import Packet
from tests.hub.media import AUDIO, VIDEO, audio, video


class Recorder:
    """A reader that keeps every packet it is given."""

    def __init__(self) -> None:
        self.packets: list[Packet] = []
        self.batches: list[Batch] = []
        self.over: list[Exception | None] = []
        self.fail_on_dts: int | None = None

    def take(self, batch: Batch) -> None:
        if self.fail_on_dts is not None and batch.last_dts_ms >= self.fail_on_dts:
            raise ConnectionResetError("gone")
        self.batches.append(batch)
        self.packets.extend(batch.packets)

    def ended(self, error: Exception | None) -> None:
        self.over.append(error)

    @property
    def dts(self) -> list[int]:
        return [packet.dts_ms for packet in self.packets]


def open_stream(limit: BacklogLimit | None = None) -> tuple[Stream, Recorder, Subscription]:
    stream, reader = Stream("demo"), Recorder()
    return stream, reader, stream.subscribe(reader, limit)


def test_a_new_reader_starts_at_the_next_keyframe_with_both_headers() -> None:
    stream, reader, subscription = open_stream()
    stream.write([audio(0), video(0)])
    stream.write([audio(20), video(33, key=True), audio(40)])
    assert reader.dts == [33, 40]
    assert reader.batches[0].opening == (VIDEO, AUDIO)
    assert subscription.dropped_packets == 0


def test_a_late_reader_gets_the_gop_cache_first() -> None:
    stream = Stream("demo")
    stream.write([video(0, key=True), audio(5)])
    stream.write([video(33)])
    reader = Recorder()
    stream.subscribe(reader)
    stream.write([video(66)])
    assert reader.dts == [0, 5, 33, 66]
    assert reader.batches[0].opening == (VIDEO, AUDIO)
    assert reader.batches[1].opening == reader.batches[0].closing


def test_a_whole_reader_gets_everything_from_now_on() -> None:
    stream, reader = Stream("demo"), Recorder()
    stream.write([video(0, key=True)])
    stream.subscribe(reader, whole=True)
    stream.write([audio(20), video(33)])
    assert reader.dts == [20, 33]


def test_a_paused_reader_is_kept_for_and_catches_up_in_order() -> None:
    stream, reader, subscription = open_stream()
    stream.write([video(0, key=True)])
    subscription.pause()
    for dts in (33, 66, 99):
        stream.write([video(dts)])
    assert reader.dts == [0]
    assert (subscription.backlog_ms, subscription.backlog_bytes) == (66, 3)
    subscription.resume()
    assert reader.dts == [0, 33, 66, 99]
    assert (subscription.backlog_ms, subscription.backlog_bytes, subscription.dropped_packets) == (0, 0, 0)


def test_a_reader_that_pauses_while_catching_up_gets_the_rest_later() -> None:
    stream, reader, subscription = open_stream()
    stream.write([video(0, key=True)])
    subscription.pause()
    for dts in (33, 66, 99):
        stream.write([video(dts)])
    take = reader.take

    def take_one(batch: Batch) -> None:
        take(batch)
        subscription.pause()

    reader.take = take_one  # type: ignore[method-assign]
    subscription.resume()
    assert reader.dts == [0, 33]
    stream.write([video(132)])
    reader.take = take  # type: ignore[method-assign]
    subscription.resume()
    assert reader.dts == [0, 33, 66, 99, 132]


def test_over_the_limit_the_oldest_goes_up_to_a_keyframe() -> None:
    stream, reader, subscription = open_stream(BacklogLimit(max_ms=100, max_bytes=1000))
    stream.write([video(0, key=True)])
    subscription.pause()
    stream.write([video(40)])
    stream.write([audio(70), video(80, key=True), audio(90)])
    stream.write([video(120)])
    stream.write([video(160)])
    assert subscription.dropped_packets == 2
    subscription.resume()
    assert reader.dts == [0, 80, 90, 120, 160]
    assert reader.batches[1].opening == (VIDEO, AUDIO)


def test_with_no_keyframe_held_all_goes_and_delivery_waits_for_one() -> None:
    stream, reader, subscription = open_stream(BacklogLimit(max_ms=10_000, max_bytes=50))
    stream.write([video(0, key=True)])
    subscription.pause()
    stream.write([video(33, size=30)])
    stream.write([video(66, size=30)])
    assert (subscription.backlog_bytes, subscription.dropped_packets) == (0, 2)
    subscription.resume()
    stream.write([video(99)])
    stream.write([video(133, key=True)])
    assert reader.dts == [0, 133]
    assert subscription.dropped_packets == 3


def test_a_failing_reader_is_dropped_and_told_and_the_others_go_on() -> None:
    stream, bad, _ = open_stream()
    good = Recorder()
    stream.subscribe(good)
    bad.fail_on_dts = 33
    stream.write([video(0, key=True)])
    stream.write([video(33)])
    stream.write([video(66)])
    assert good.dts == [0, 33, 66]
    assert bad.dts == [0]
    assert [type(error) for error in bad.over] == [ConnectionResetError]
    assert stream.readers == 1


def test_the_end_of_the_stream_is_told_once() -> None:
    stream, reader, subscription = open_stream()
    stream.write([video(0, key=True)])
    stream.reset()
    assert reader.over == [None]
    assert subscription.stream is None
    subscription.end()
    subscription.close()
    assert reader.over == [None]


def test_the_end_is_told_after_the_backlog_is_taken() -> None:
    stream, reader, subscription = open_stream()
    stream.write([video(0, key=True)])
    subscription.pause()
    stream.write([video(33)])
    stream.reset()
    assert reader.over == []
    assert stream.readers == 0
    stream.write([video(66, key=True)])
    subscription.resume()
    assert reader.dts == [0, 33]
    assert reader.over == [None]
    subscription.resume()
    assert reader.over == [None]


def test_a_reader_that_leaves_or_fails_while_its_backlog_ends_is_told_no_more_than_that() -> None:
    for fails in (False, True):
        stream, reader, subscription = open_stream()
        stream.write([video(0, key=True)])
        subscription.pause()
        stream.write([video(33)])
        stream.reset()
        if fails:
            reader.fail_on_dts = 33
        else:
            subscription.close()
        subscription.resume()
        assert reader.dts == [0]
        assert [type(error) for error in reader.over] == ([ConnectionResetError] if fails else [])


@given(
    st.lists(st.tuples(st.sampled_from(["key", "delta", "audio"]), st.integers(1, 40)), min_size=1, max_size=120),
    st.lists(st.booleans(), min_size=1, max_size=40),
)
def test_delivery_is_in_order_without_repeats_bounded_and_counted(
    frames: Sequence[tuple[str, int]], pauses: Sequence[bool]
) -> None:
    limit = BacklogLimit(max_ms=200, max_bytes=300)
    stream, reader, subscription = open_stream(limit)
    dts = 0
    for index, (kind, size) in enumerate(frames):
        dts += 10
        if pauses[index % len(pauses)]:
            subscription.pause()
        else:
            subscription.resume()
        stream.write([audio(dts) if kind == "audio" else video(dts, key=kind == "key", size=size)])
        assert subscription.backlog_bytes <= limit.max_bytes
        assert subscription.backlog_ms <= limit.max_ms
    subscription.resume()
    assert reader.dts == sorted(set(reader.dts))
    # Nothing is owed before the first start; from the first delivery on every packet is delivered or counted.
    accounted = len(reader.packets) + subscription.dropped_packets
    owed = len(frames) - reader.packets[0].dts_ms // 10 + 1 if reader.packets else 0
    assert owed <= accounted <= len(frames)
    # After every hole in what was delivered, the next thing is a decodable start.
    for before, after in zip(reader.packets, reader.packets[1:], strict=False):
        if after.dts_ms - before.dts_ms > 10 and any(packet.is_video for packet in reader.packets):
            assert after.is_keyframe
