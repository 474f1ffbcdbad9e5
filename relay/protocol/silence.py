"""Silent audio frames that match a track, for when no sound comes: written by hand, nothing is encoded."""

from fractions import Fraction
from typing import NamedTuple

from relay.errors import ProtocolError
from relay.media import Codec, Track
from relay.protocol import codecs
from relay.protocol.audio_headers import aac_config
from relay.protocol.bits import BitWriter

SILENT_AAC = codecs.read_track(Codec.AAC, bytes.fromhex("1190"))
"""The audio of a stream that has none: AAC-LC, 48 kHz, stereo."""

_ONE, _PAIR, _LOW, _END = 0, 1, 3, 7  # id_syn_ele, ISO/IEC 14496-3 table 4.85
_ELEMENTS = {
    1: (_ONE,),
    2: (_PAIR,),
    3: (_ONE, _PAIR),
    4: (_ONE, _PAIR, _ONE),
    5: (_ONE, _PAIR, _PAIR),
    6: (_ONE, _PAIR, _PAIR, _LOW),
    7: (_ONE, _PAIR, _PAIR, _PAIR, _LOW),
    11: (_ONE, _PAIR, _PAIR, _ONE, _LOW),
    12: (_ONE, _PAIR, _PAIR, _PAIR, _LOW),
}  # by channelConfiguration, table 1.19
_PLAIN = frozenset({1, 2, 4})  # Main, LC, LTP: one syntax as long as nothing is predicted
_MP3_VERSIONS = {44100: (3, 0), 48000: (3, 1), 32000: (3, 2), 22050: (2, 0), 24000: (2, 1), 16000: (2, 2)}
_MP3_VERSIONS |= {11025: (0, 0), 12000: (0, 1), 8000: (0, 2)}  # by rate: version and sampling frequency index


class Silence(NamedTuple):
    """One silent frame to be sent again and again: its bytes, and its length as samples at a rate in Hz."""

    data: bytes
    samples: int
    rate: int

    @property
    def duration_ms(self) -> Fraction:
        """The exact length of one frame in ms."""
        return Fraction(1000 * self.samples, self.rate)


def silence(track: Track) -> Silence | None:
    """The silent frame that ``track``'s decoder plays; None where this codec, or its layout, has none here."""
    make = {Codec.AAC: _aac, Codec.OPUS: _opus, Codec.MP3: _mp3}.get(track.codec)
    try:
        return make(track) if make is not None else None
    except ProtocolError:
        return None


def _aac(track: Track) -> Silence | None:
    """A raw_data_block (ISO/IEC 14496-3 §4.4.2.1) whose channels have no scale factor band, so no spectrum.

    With SBR it is the core's frame alone: the bands above follow the silence below.
    """
    config = aac_config(track.header)
    elements = _ELEMENTS.get(config.layout)
    if elements is None or config.object_type not in _PLAIN or not 7000 <= config.core_rate <= 96_000:
        return None
    bits = BitWriter()
    counts = dict.fromkeys((_ONE, _PAIR, _LOW), 0)
    for element in elements:
        bits.write(3, element)
        bits.write(4, counts[element])
        counts[element] += 1
        if element == _PAIR:
            bits.write(1, 1)  # common_window
            bits.write(11, 0)  # ics_info: one long sine window, max_sfb 0, no prediction
            bits.write(2, 0)  # ms_mask_present
            bits.write(2 * 11, 0)  # each channel: global_gain, then neither pulses, noise shaping nor gain control
        else:
            bits.write(8 + 11 + 3, 0)
    bits.write(3, _END)
    return Silence(bits.data(), 960 if config.short else 1024, config.core_rate)


def _opus(track: Track) -> Silence | None:
    """20 ms of CELT told to be silent (RFC 6716 §4.3), once for each stream in the packet (RFC 7845 §5.1.1)."""
    header = track.header
    if len(header) < 19:
        return None
    streams, pairs = 1, int(track.channels == 2)
    if header[18] and len(header) > 20:
        streams, pairs = header[19], header[20]
        if not streams or pairs > streams:
            return None
    parts = []
    for number in range(streams):
        table_of_contents = b"\xfc" if number < pairs else b"\xf8"
        size = b"\x02" if number < streams - 1 else b""  # self-delimited but for the last, RFC 6716 Appendix B
        parts.append(table_of_contents + size + b"\xff\xfe")
    return Silence(b"".join(parts), 960, 48000)


def _mp3(track: Track) -> Silence | None:
    """A frame whose side information is zero: no granule has data (ISO/IEC 11172-3 §2.4.1.7, 13818-3)."""
    version, index = _MP3_VERSIONS.get(track.sample_rate, (None, 0))
    if version is None or track.channels not in (1, 2):
        return None
    whole = version == 3  # MPEG-1; the lower rates have one granule a frame
    bitrate = 32 if whole else 8  # kbit/s: index 1, the lowest
    header = 0xFFE00000 | version << 19 | 1 << 17 | 1 << 16 | 1 << 12 | index << 10
    if track.channels == 1:
        header |= 3 << 6
    samples = 1152 if whole else 576
    size = samples // 8 * bitrate * 1000 // track.sample_rate
    return Silence(header.to_bytes(4, "big").ljust(size, b"\0"), samples, track.sample_rate)
