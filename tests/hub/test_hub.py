"""Hub: one publisher at a time, newest wins; states told to listeners; a lost publisher is held for."""

import asyncio

import pytest

from relay.errors import RefusedError
from relay.hub import Batch, Hub, Load, Stream, StreamState
from tests.hub.media import audio, video


class Encoder:
    """A publisher that notes what it is told."""

    def __init__(self) -> None:
        self.evictions: list[str] = []
        self.commits: list[int] = []

    def evicted(self, reason: str) -> None:
        self.evictions.append(reason)

    def committed(self, seq: int) -> None:
        self.commits.append(seq)


class Listener:
    def __init__(self) -> None:
        self.told: list[str] = []

    def stream_live(self, stream: Stream) -> None:
        self.told.append("live")

    def stream_resumed(self, stream: Stream) -> None:
        self.told.append("resumed")

    def stream_holding(self, stream: Stream) -> None:
        self.told.append("holding")

    def stream_offline(self, stream: Stream) -> None:
        self.told.append("offline")


def make(hold_s: float = 30.0) -> tuple[Hub, Listener]:
    hub, listener = Hub(hold_s), Listener()
    hub.listen(listener)
    return hub, listener


async def test_live_on_first_media_offline_on_a_clean_goodbye() -> None:
    hub, listener = make()
    lease = hub.publish("demo", Encoder())
    assert (hub.stream("demo").state, listener.told) == (StreamState.OFFLINE, [])
    lease.write([video(0, key=True)])
    assert (hub.stream("demo").state, listener.told) == (StreamState.LIVE, ["live"])
    lease.release(clean=True)
    assert (hub.stream("demo").state, listener.told) == (StreamState.OFFLINE, ["live", "offline"])
    assert hub.lease("demo") is None


async def test_listeners_hear_of_live_before_the_first_packet_is_written() -> None:
    hub, _ = make()
    seqs: list[int] = []

    class Early(Listener):
        def stream_live(self, stream: Stream) -> None:
            seqs.append(stream.seq)

    hub.listen(Early())
    hub.publish("demo", Encoder()).write([video(0, key=True)])
    assert seqs == [0]


async def test_newest_publisher_wins_and_the_old_one_writes_nothing_more() -> None:
    hub, listener = make()
    old, new = Encoder(), Encoder()
    first = hub.publish("demo", old)
    first.write([video(0, key=True)])
    second = hub.publish("demo", new)
    assert len(old.evictions) == 1
    first.write([video(33)])
    first.describe({"encoder": "old"})
    first.release(clean=True)
    stream = hub.stream("demo")
    assert (stream.seq, stream.state, stream.stats.takeovers) == (1, StreamState.HOLDING, 1)
    assert stream.metadata == {}
    second.write([video(66)])
    assert (stream.seq, new.commits, old.commits) == (2, [2], [1])
    assert listener.told == ["live", "holding", "resumed"]


async def test_two_encoders_that_keep_taking_over_are_told_so() -> None:
    hub, _ = make()
    dts_ms = 0
    for turn in range(4):
        hub.admit("demo")
        lease = hub.publish("demo", Encoder())
        lease.write([video(dts_ms := lease.timeline.place(dts_ms + 33, True), key=True)])
        assert hub.is_contested("demo") is (turn == 3)
    with pytest.raises(RefusedError) as refused:
        hub.admit("demo")
    assert refused.value.outcome == "contested"
    hub.admit("other")
    hub.stream("demo").stats.last_packet_at -= 3  # the one that has it has fallen silent
    hub.admit("demo")


async def test_on_a_full_relay_nobody_new_gets_in_and_whoever_is_on_the_air_stays() -> None:
    now_s = used_s = 0.0
    load = Load(0.5, lambda: used_s, lambda: now_s)
    hub = Hub(30.0, load)
    hub.admit("demo")
    lease = hub.publish("demo", Encoder())
    lease.write([video(0, key=True)])
    for _ in range(20):
        load.begin()
        used_s, now_s, load.own_s = used_s + 0.6, now_s + 1, 0.6
        load.end()
    with pytest.raises(RefusedError, match="no room") as refused:
        hub.admit("other")
    assert refused.value.outcome == "busy"
    hub.admit("demo")
    lease.release(clean=False)
    hub.admit("demo")  # held: its broadcast goes on
    hub.end("demo")
    with pytest.raises(RefusedError):
        hub.admit("demo")
    now_s += 10
    hub.admit("other")


async def test_holds_are_added_up_and_may_be_longer_on_one_channel() -> None:
    hub, listener = make(hold_s=0.02)
    hub.set_hold("demo", 30)
    lease = hub.publish("demo", Encoder())
    lease.write([audio(0)])
    lease.release(clean=False)
    await asyncio.sleep(0.05)
    assert listener.told == ["live", "holding"]
    stats = hub.stream("demo").stats
    assert 0.04 < stats.total_held_s() < 5
    hub.publish("demo", Encoder()).write([audio(1)])
    held_s = stats.total_held_s()
    await asyncio.sleep(0.02)
    assert stats.total_held_s() == held_s > 0.04


async def test_a_lost_publisher_is_held_for_and_its_return_is_one_timeline() -> None:
    hub, listener = make()
    lease = hub.publish("demo", Encoder())
    lease.write([video(lease.timeline.place(50_000, True), key=True)])
    lease.release(clean=False)
    assert hub.stream("demo").state is StreamState.HOLDING
    again = hub.publish("demo", Encoder())
    dts = again.timeline.place(0, True)
    assert 50_000 < dts < 51_000
    again.write([video(dts, key=True)])
    assert listener.told == ["live", "holding", "resumed"]


async def test_a_returning_publisher_begins_above_what_each_track_had() -> None:
    """The last packet written was audio, behind the video: video may not step back for it."""
    hub, _ = make()
    first = hub.publish("demo", Encoder())
    first.write([video(1000, key=True), audio(950)])
    first.write([video(1100), audio(1040)])
    timeline = hub.publish("demo", Encoder()).timeline
    start = timeline.place(0, True)
    assert 1100 < start < 1500
    timeline = hub.publish("demo", Encoder()).timeline
    start = timeline.place(70, False)
    assert 1100 < start < 1500
    assert timeline.place(20, True) == max(start - 50, 1101)


async def test_the_hold_ends_after_its_limit() -> None:
    hub, listener = make(hold_s=0.02)
    lease = hub.publish("demo", Encoder())
    lease.write([audio(0)])
    lease.release(clean=False)
    await asyncio.sleep(0.06)
    assert listener.told == ["live", "holding", "offline"]
    fresh = hub.publish("demo", Encoder())
    assert fresh.timeline.place(7, False) == 7


async def test_removing_a_channel_evicts_and_ends() -> None:
    hub, listener = make()
    encoder = Encoder()
    hub.publish("demo", encoder).write([audio(0)])
    hub.remove("demo")
    assert len(encoder.evictions) == 1
    assert listener.told == ["live", "offline"]
    assert "demo" not in hub.streams
    hub.remove("demo")


async def test_a_stalled_publisher_keeps_its_lease_and_resumes() -> None:
    hub, listener = make()
    lease = hub.publish("demo", Encoder())
    lease.stalled()
    assert listener.told == []
    lease.write([video(0, key=True)])
    lease.stalled()
    lease.stalled()
    assert listener.told == ["live", "holding"]
    lease.write([video(6000, key=True)])
    assert listener.told == ["live", "holding", "resumed"]
    assert hub.lease("demo") is lease


async def test_a_hold_may_be_made_longer_while_it_lasts() -> None:
    hub, listener = make(hold_s=0.05)
    lease = hub.publish("demo", Encoder())
    lease.write([audio(0)])
    lease.release(clean=False)
    hub.set_hold("demo", 30)
    await asyncio.sleep(0.12)
    assert listener.told == ["live", "holding"]
    hub.set_hold("demo", 0.01)
    await asyncio.sleep(0.05)
    assert listener.told == ["live", "holding", "offline"]


async def test_a_publisher_that_was_just_accepted_is_not_sent_away_by_the_holds_end() -> None:
    hub, listener = make(hold_s=0.02)
    lease = hub.publish("demo", Encoder())
    lease.write([audio(0)])
    lease.release(clean=False)
    returned = Encoder()
    again = hub.publish("demo", returned)
    await asyncio.sleep(0.06)
    assert (listener.told, returned.evictions) == (["live", "holding"], [])
    again.write([audio(500)])
    assert listener.told == ["live", "holding", "resumed"]


async def test_what_a_link_held_back_is_missing_for_the_next_publisher_too() -> None:
    hub, _ = make()
    lease = hub.publish("demo", Encoder())
    lease.write([video(lease.timeline.place(10_000, True), key=True)])
    hub.stream("demo").stats.arrival_lag_ms = 8000.0
    lease.release(clean=False)
    again = hub.publish("demo", Encoder())
    assert 18_000 <= again.timeline.place(0, True) < 19_000


class Whole:
    """A reader that notes the batches it is given."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def take(self, batch: Batch) -> None:
        self.batches.append(batch)

    def ended(self, error: Exception | None) -> None:
        """Nothing to do."""


async def test_pieces_are_kept_at_once_and_shown_at_their_pace() -> None:
    hub, listener = make()
    keeper, viewer, encoder = Whole(), Whole(), Encoder()
    stream = hub.stream("demo")
    stream.subscribe(keeper, whole=True)
    stream.subscribe(viewer)
    lease = hub.publish("demo", encoder)
    piece = [video(0, key=True), audio(1), video(400), audio(401)]
    seq = lease.keep(piece, "a note", 2)
    assert (seq, encoder.commits, listener.told) == (4, [4], ["live"])
    assert [(batch.packets, batch.note, batch.missing) for batch in keeper.batches] == [(piece, "a note", 2)]
    assert viewer.batches == []
    assert lease.unshown_ms == 401
    await asyncio.sleep(0.4)
    assert [packet for batch in viewer.batches for packet in batch.packets] == piece[:2]
    await asyncio.sleep(0.5)
    assert [packet for batch in viewer.batches for packet in batch.packets] == piece
    assert len(keeper.batches) == 1
    assert stream.seq == 4


async def test_who_comes_after_pieces_goes_on_after_all_of_them() -> None:
    """What waits to be shown is shown first, so that no time is used twice."""
    hub, _ = make()
    viewer = Whole()
    hub.stream("demo").subscribe(viewer)
    lease = hub.publish("demo", Encoder())
    lease.keep([video(0, key=True), audio(1), video(2000), audio(2001)])
    following = hub.publish("demo", Encoder())
    assert sum(len(batch.packets) for batch in viewer.batches) == 4
    assert following.timeline.place(77, True) > 2001
    lease.keep([video(4000, key=True)])  # lost: without effect
    assert sum(len(batch.packets) for batch in viewer.batches) == 4


async def test_time_without_a_publisher_counts_from_when_its_last_piece_came() -> None:
    """Not from when that was shown, which is later: missing time would be told too short."""
    hub, _ = make()
    lease = hub.publish("demo", Encoder())
    lease.keep([video(0, key=True), video(2000)])
    await asyncio.sleep(1.2)
    assert hub.publish("demo", Encoder()).timeline.place(0, True) >= 2000 + 1200


async def test_lag_is_measured_from_the_pace_of_whoever_publishes() -> None:
    """Pieces are shown later than they could be, and what is flushed earlier: that says nothing about a link."""
    hub, _ = make()
    stream, stats = hub.stream("demo"), hub.stream("demo").stats
    sender = hub.publish("demo", Encoder())
    sender.timeline.arrived(0)
    sender.write([video(0, key=True)])
    for _ in range(2):
        lease = hub.publish("demo", Encoder())
        start_ms = (stream.last_dts_ms or 0) + 1
        lease.keep([video(start_ms + at, key=not at) for at in range(0, 4000, 40)])
        shown = stats.video_packets
        async with asyncio.timeout(20):
            while stats.video_packets < shown + 5:  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.01)
        assert stats.arrival_lag_ms < 500
