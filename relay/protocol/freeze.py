"""A keyframe made fit to be sent again and again while the publisher is away; nothing is decoded for it."""

from typing import NamedTuple

from relay.errors import ProtocolError
from relay.media import Codec, Packet
from relay.protocol.bits import BitReader, BitWriter, unescape
from relay.protocol.h264 import (
    IDR_SLICE,
    PPS,
    SEI,
    SLICE,
    SPS,
    Pps,
    Sps,
    escape,
    header_units,
    nal_units,
    read_pps,
    read_sps,
)

# idr_pic_id of the repeats, two that differ from the keyframe's own: encoders count from 0 and start again early.
_IDS = (65534, 65535, 65533)
_HEAD = 128  # bytes: longer than the slice header of any intra picture
_INTRA = frozenset({2, 7})  # slice_type, table 7-6
_USER_DATA = frozenset({4, 5})  # SEI payloads to be said once: captions, and what the encoder says of itself
_OPERANDS = {1: 1, 2: 1, 3: 2, 4: 1, 5: 0, 6: 1}  # by memory_management_control_operation, §7.3.3.3
_CRA, _BLA_WITH_LEADING, _BLA_ALONE = 21, 16, 18  # HEVC nal_unit_type: CRA_NUT, BLA_W_LP, BLA_N_LP


def frozen(packet: Packet) -> tuple[Packet, ...]:
    """Variants of keyframe ``packet`` to send in turn, from the first, so that each repeat decodes as a new picture.

    Times stay the packet's own. H.264 gives two, because consecutive IDR pictures must differ in idr_pic_id
    (§7.4.3); an intra picture that is no IDR picture is made one. HEVC gives one, a CRA picture made a BLA picture:
    two in one sequence must differ in picture order count, H.265 §8.3.1. AV1, VP9, VP8, and whatever cannot be
    understood, give the packet itself; nothing is raised. Takes time in proportion to the size.
    """
    try:
        if packet.track.codec is Codec.H264:
            return tuple(packet._replace(data=data) for data in _h264(packet))
        if packet.track.codec is Codec.HEVC:
            return (_broken_link(packet, _BLA_ALONE),)
    except ProtocolError:
        return (packet,)  # not ours to mend: it goes as it came
    return (packet,)


def rejoining(packet: Packet) -> Packet:
    """Keyframe ``packet`` as the first after something else on the same connection: repeats, or another publisher.

    HEVC's CRA pictures become BLA pictures, so that decoders skip the pictures that follow them in the stream but
    need what came before; anything else is returned as it is. Nothing is raised.
    """
    try:
        return _broken_link(packet, _BLA_WITH_LEADING) if packet.track.codec is Codec.HEVC else packet
    except ProtocolError:
        return packet


def self_contained(packet: Packet) -> Packet:
    """H.264 keyframe ``packet`` with the parameter sets of its sequence header in front, unless it has its own.

    For a header that changes on a running connection: not every reader takes up the new one. Other packets are
    returned as they are; nothing is raised.
    """
    if packet.track.codec is not Codec.H264 or not packet.is_keyframe:
        return packet
    try:
        size = (packet.track.header[4] & 3) + 1
        if any(unit[0] & 0x1F == SPS for unit in nal_units(packet.data, size)):
            return packet
        return packet._replace(data=_joined(header_units(packet.track.header), size) + packet.data)
    except (ProtocolError, IndexError):
        return packet


def _broken_link(packet: Packet, nal_type: int) -> Packet:
    """``packet`` with its CRA slices, if any, turned into slices of a BLA picture: their headers are alike."""
    length_size = packet.track.header[21:22]
    if not length_size:
        raise ProtocolError("HEVC track without a sequence header")
    size = (length_size[0] & 3) + 1
    units = nal_units(packet.data, size)
    if all(unit[0] >> 1 & 0x3F != _CRA for unit in units):
        return packet
    return packet._replace(
        data=_joined(
            [
                bytes((unit[0] & 0x81 | nal_type << 1,)) + unit[1:] if unit[0] >> 1 & 0x3F == _CRA else unit
                for unit in units
            ],
            size,
        )
    )


def _joined(units: list[bytes], length_size: int) -> bytes:
    return b"".join(part for unit in units for part in (len(unit).to_bytes(length_size, "big"), unit))


# --- H.264 -----------------------------------------------------------------------------------------------------------


class _Slice(NamedTuple):
    """A slice of an IDR picture taken apart around its idr_pic_id (None: it had none), to be written with others.

    ``before``, which begins with the NAL unit's header, and ``after`` are (count of bits, value). What follows them is
    the last ``rest_count`` bits of ``rest`` in CAVLC; with CABAC (None), all of it from the next whole byte on.
    """

    before: tuple[int, int]
    idr_pic_id: int | None
    after: tuple[int, int]
    rest: bytes
    rest_count: int | None

    def numbered(self, idr_pic_id: int) -> bytes:
        """The NAL unit with ``idr_pic_id``."""
        bits = BitWriter()
        bits.write(*self.before)
        bits.ue(idr_pic_id)
        bits.write(*self.after)
        if self.rest_count is None:
            padding = -bits.count % 8
            bits.write(padding, (1 << padding) - 1)  # cabac_alignment_one_bit, §7.3.4
            return escape(bits.data() + self.rest)
        bits.write(self.rest_count, int.from_bytes(self.rest, "big") & (1 << self.rest_count) - 1)
        return escape(bits.data().rstrip(b"\0"))  # the shift may have left a whole byte of trailing zeros


def _h264(packet: Packet) -> list[bytes]:
    """The variants of an H.264 keyframe's access unit. Raises ProtocolError for what cannot be rewritten."""
    header = packet.track.header
    if len(header) < 7:
        raise ProtocolError("H.264 track without a sequence header")
    length_size = (header[4] & 3) + 1
    units = nal_units(packet.data, length_size)
    sets: dict[int, Sps] = {}
    pictures: dict[int, Pps] = {}
    is_idr = any(unit[0] & 0x1F == IDR_SLICE for unit in units)
    made: list[_Slice | bytes] = []
    for unit in header_units(header):
        _keep(unit, sets, pictures)
    for unit in units:
        nal_type = unit[0] & 0x1F
        if nal_type == IDR_SLICE or (nal_type == SLICE and not is_idr):
            made.append(_read_slice(unit, sets, pictures))
        elif nal_type != SEI or not _is_user_data(unit):
            _keep(unit, sets, pictures)
            made.append(unit)
    slices = [unit for unit in made if isinstance(unit, _Slice)]
    if not slices:
        raise ProtocolError("H.264 keyframe without a slice")
    ids = [number for number in _IDS if number != slices[0].idr_pic_id]
    variants = []
    for number in ids[:2]:
        nals = [unit.numbered(number) if isinstance(unit, _Slice) else unit for unit in made]
        if length_size < 4 and max(map(len, nals)) >> 8 * length_size:
            raise ProtocolError("H.264 slice that has no room to grow")
        variants.append(_joined(nals, length_size))
    return variants


def _keep(unit: bytes, sets: dict[int, Sps], pictures: dict[int, Pps]) -> None:
    """Remember ``unit`` if it is a parameter set: those in the stream come after, and so before, the header's."""
    if unit[0] & 0x1F == SPS:
        sequence = read_sps(unit)
        sets[sequence.number] = sequence
    elif unit[0] & 0x1F == PPS:
        picture = read_pps(unit)
        pictures[picture.number] = picture


def _is_user_data(unit: bytes) -> bool:
    """Whether the first message of an SEI unit is user data; encoders send each in a unit of its own."""
    return len(unit) > 1 and unit[1] in _USER_DATA


def _read_slice(unit: bytes, sets: dict[int, Sps], pictures: dict[int, Pps]) -> _Slice:
    """Take apart an intra slice, §7.3.3: of an IDR picture, or of another frame as if it were one."""
    rbsp = unescape(unit).rstrip(b"\0")
    head = rbsp[:_HEAD]
    bits = BitReader(head)
    whole, size = int.from_bytes(head, "big"), 8 * len(head)

    def at() -> int:
        return size - bits.left

    def since(start: int) -> tuple[int, int]:
        """(count, value) of the bits read from ``start`` on."""
        return at() - start, whole >> bits.left & (1 << at() - start) - 1

    bits.skip(8)
    bits.ue()
    kind = bits.ue()
    picture = pictures.get(bits.ue())
    sequence = sets.get(picture.sps) if picture is not None else None
    if picture is None or sequence is None:
        raise ProtocolError("H.264 slice without its parameter sets")
    if kind not in _INTRA or not unit[0] & 0x60:
        raise ProtocolError("H.264 keyframe that is not made of intra slices")
    is_idr = unit[0] & 0x1F == IDR_SLICE
    bits.skip(2 * sequence.separate_planes)
    before = BitWriter()
    count, value = since(0)
    before.write(count, value & ~(0x1F << count - 8) | IDR_SLICE << count - 8)
    start = at()
    bits.skip(sequence.frame_num_bits)
    before.write(sequence.frame_num_bits, since(start)[1] if is_idr else 0)
    start = at()
    is_field = not sequence.frames_only and bool(bits.read(1))
    bits.skip(is_field)
    before.write(*since(start))
    after = BitWriter()
    idr_pic_id = bits.ue() if is_idr else None
    start = at()
    if is_idr:
        _skip_order_count(bits, sequence, picture, is_field)
    elif is_field or sequence.poc_type == 1:
        raise ProtocolError("H.264 picture that cannot be made an IDR picture")
    elif sequence.poc_type == 0:
        # The lower order count of an IDR picture's two fields is 0, §8.2.1.
        bits.skip(sequence.poc_bits)
        start = at()
        below = min(0, bits.se()) if picture.bottom_poc else 0
        if -below >> sequence.poc_bits:
            raise ProtocolError("H.264 slice whose fields are impossibly far apart")
        after.write(sequence.poc_bits, -below)
    if picture.redundant:
        bits.ue()
    after.write(*since(start))
    # dec_ref_pic_marking: no_output_of_prior_pics_flag off, or repeats would be thrown away unseen.
    if is_idr:
        bits.skip(1)
        after.write(2, bits.read(1))
    else:
        _skip_marking(bits)
        after.write(2, 0)
    start = at()
    bits.se()
    if picture.deblocking and bits.ue() != 1:
        bits.se()
        bits.se()
    after.write(*since(start))
    begin = (at() + 7) // 8 if picture.cabac else at() // 8
    left = None if picture.cabac else 8 * len(rbsp) - at()
    return _Slice((before.count, before.value), idr_pic_id, (after.count, after.value), rbsp[begin:], left)


def _skip_order_count(bits: BitReader, sequence: Sps, picture: Pps, is_field: bool) -> None:
    has_bottom = picture.bottom_poc and not is_field
    if sequence.poc_type == 0:
        bits.skip(sequence.poc_bits)
        if has_bottom:
            bits.se()
    elif sequence.poc_deltas:
        bits.se()
        if has_bottom:
            bits.se()


def _skip_marking(bits: BitReader) -> None:
    """dec_ref_pic_marking of a picture that is no IDR picture, §7.3.3.3."""
    if not bits.read(1):
        return
    while operation := bits.ue():
        if operation not in _OPERANDS:
            raise ProtocolError("H.264 slice with an unknown memory management operation")
        for _ in range(_OPERANDS[operation]):
            bits.ue()
