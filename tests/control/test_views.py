"""Views: what runs is shown field by field, and nothing where nothing runs."""

from relay.control.destinations import prepared
from relay.control.models import NewDestination
from relay.control.views import destination_view, publisher_view, track_views
from relay.egress.base import DestinationState, DestinationStatus
from relay.hub import Stream
from relay.ingest.base import PublisherInfo
from relay.media import Codec, Packet, Track


def test_a_publisher_is_shown_as_it_is() -> None:
    info = PublisherInfo("rtmp pull", "192.0.2.1", "", False, 5.0, 7, None, 3)
    view = publisher_view(info)
    assert (view.protocol, view.address, view.bytes_received, view.rtt_s, view.out_of_order) == (
        "rtmp pull", "192.0.2.1", 7, None, 3,
    )  # fmt: skip


def test_a_destination_is_shown_without_its_key() -> None:
    (row,) = prepared([NewDestination(name="d", url="rtmp://h.example/app", key="SECRET")])
    status = DestinationStatus("d", "custom", row.url, DestinationState.RETRYING, "why", dropped_packets={"backlog": 4})
    view = destination_view(row, status)
    assert (view.name, view.state, view.last_error, view.dropped_packets) == ("d", "retrying", "why", 4)
    assert "SECRET" not in view.model_dump_json()


def test_tracks_are_those_in_force() -> None:
    assert track_views(None) == []
    stream = Stream("a")
    track = Track(codec=Codec.AAC, header=b"\x11\x90", sample_rate=48000, channels=2, codec_string="mp4a.40.2")
    stream.write([Packet(track, 0, 0, True, b"frame")])
    (view,) = track_views(stream)
    assert (view.kind, view.codec, view.sample_rate, view.channels) == ("audio", "aac", 48000, 2)
