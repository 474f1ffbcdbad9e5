"""Tables for the FLV tests: bodies and tags by name, and what each of them says."""

from relay.media import Codec
from relay.protocol import flv
from relay.protocol.flv import AUDIO, SCRIPT, VIDEO

HeaderRow = tuple[str, int, bytes, Codec, bytes]
FrameRow = tuple[str, int, bytes, Codec, bool, int, bytes]

AVC = bytes.fromhex("0142c01fffe1000f6742c01f8c6805005bb0101e1108d401000468ce3c80")
AVC_OTHER = bytes.fromhex("0142c028ffe100196742c028da01e0089f970110000003001000000303c0f1832a01000468ce0fc8")
HEVC = bytes.fromhex("0101600000009000000000005df000fcfdf8f800000f00")
AAC = bytes.fromhex("1190")
OPUS = bytes.fromhex("4f707573486561640101380180bb0000000000")
MP3_FRAME = bytes.fromhex("fffb906400000000")

# name, type, body of a sequence header, codec, the header in it
HEADERS: list[HeaderRow] = [
    ("H.264", VIDEO, b"\x17\0\0\0\0" + AVC, Codec.H264, AVC),
    ("HEVC", VIDEO, b"\x90hvc1" + HEVC, Codec.HEVC, HEVC),
    ("AV1", VIDEO, b"\x90av01\x81\x05\x0c\x00", Codec.AV1, b"\x81\x05\x0c\x00"),
    ("AAC", AUDIO, b"\xaf\x00" + AAC, Codec.AAC, AAC),
    ("Opus", AUDIO, b"\x90Opus" + OPUS, Codec.OPUS, OPUS),
]

# name, type, body of a frame, codec, keyframe, CTS in ms, payload
FRAMES: list[FrameRow] = [
    ("H.264 key", VIDEO, b"\x17\x01\0\0\0key", Codec.H264, True, 0, b"key"),
    ("H.264 inter", VIDEO, b"\x27\x01\0\0\x42inter", Codec.H264, False, 66, b"inter"),
    ("H.264 shown earlier", VIDEO, b"\x27\x01\xff\xff\xffinter", Codec.H264, False, -1, b"inter"),
    ("H.264 earliest", VIDEO, b"\x27\x01\x80\x00\x00inter", Codec.H264, False, -(1 << 23), b"inter"),
    ("HEVC inter", VIDEO, b"\xa3hvc1inter", Codec.HEVC, False, 0, b"inter"),
    ("HEVC later", VIDEO, b"\xa1hvc1\0\0\x42inter", Codec.HEVC, False, 66, b"inter"),
    ("AAC", AUDIO, b"\xaf\x01frame", Codec.AAC, True, 0, b"frame"),
    ("MP3", AUDIO, b"\x2f" + MP3_FRAME, Codec.MP3, True, 0, MP3_FRAME),
    ("Opus", AUDIO, b"\x91Opusframe", Codec.OPUS, True, 0, b"frame"),
]

# what other programs write, and we do not
READ_ONLY: list[FrameRow] = [
    ("generated keyframe", VIDEO, b"\x47\x01\0\0\0key", Codec.H264, True, 0, b"key"),
    ("disposable frame", VIDEO, b"\x37\x01\0\0\0inter", Codec.H264, False, 0, b"inter"),
    ("HEVC under codec id 12", VIDEO, b"\x2c\x01\0\0\x21inter", Codec.HEVC, False, 33, b"inter"),
    ("H.264 the enhanced way", VIDEO, b"\xa1avc1\0\0\x21inter", Codec.H264, False, 33, b"inter"),
    ("HEVC with a composition time of nothing", VIDEO, b"\x91hvc1\0\0\0key", Codec.HEVC, True, 0, b"key"),
    ("HEVC with ModEx", VIDEO, b"\xa7\x02\0\0\0\x03hvc1inter", Codec.HEVC, False, 0, b"inter"),
    ("AAC announced as mono", AUDIO, b"\xae\x01frame", Codec.AAC, True, 0, b"frame"),
    ("AAC the enhanced way", AUDIO, b"\x91mp4aframe", Codec.AAC, True, 0, b"frame"),
    ("MP3 the enhanced way", AUDIO, b"\x91.mp3" + MP3_FRAME, Codec.MP3, True, 0, MP3_FRAME),
]


# name, type, body
NO_MEDIA = [
    ("empty keep-alive", VIDEO, b""),
    ("empty audio keep-alive", AUDIO, b"\xaf"),
    ("seek command", VIDEO, b"\x57\x00"),
    ("end of sequence", VIDEO, b"\x17\x02\0\0\0"),
    ("frame of no bytes", VIDEO, b"\x27\x01\0\0\0"),
    ("enhanced frame of no bytes", VIDEO, b"\xa3hvc1"),
    ("HDR metadata", VIDEO, b"\xd4hvc1\x02\x00\x09colorInfo"),
    ("AAC frame of no bytes", AUDIO, b"\xaf\x01"),
    ("AAC of another packet type", AUDIO, b"\xaf\x02abc"),
    ("script data", SCRIPT, b"\x02\x00\x0aonMetaData"),
    ("AC-3 announced as ffmpeg does", AUDIO, b"\x90ac-3"),
    ("empty AAC config: none", AUDIO, b"\xaf\x00"),
    ("empty AAC config: a byte of it", AUDIO, b"\xaf\x00\x11"),
    ("empty H.264 config", VIDEO, b"\x17\0\0\0\0"),
    ("the comment header of Opus", AUDIO, b"\x90OpusOpusTags\x04\0\0\0Lavf"),
]


# type, body, what is said of it
BROKEN = [
    (VIDEO, b"\x22abc", "Sorenson H.263 is not supported; set the encoder to H.264"),
    (VIDEO, b"\x14abc", "VP6 is not supported"),
    (VIDEO, b"\x1babc", "number 11 is not supported"),
    (VIDEO, b"\x17\x01\x00", "cut short"),
    (VIDEO, b"\x17\0\0\0\0\x01\x42", "AVCDecoderConfigurationRecord"),
    (VIDEO, b"\x93vvc1abc", "'vvc1' is not supported"),
    (AUDIO, b"\x3fabc", "PCM is not supported; set the encoder to AAC"),
    (AUDIO, b"\xb2abc", "Speex is not supported"),
    (AUDIO, b"\xf2abc", "number 15 is not supported"),
    (AUDIO, b"\x2f\x00\x00\x00\x00", "MP3 frame without"),
]


# name, type, timestamp, body, the tag as hex
TAGS = [
    ("script", SCRIPT, 0, b"abc", "12000003000000000000006162630000000e"),
    ("video of 24 bits", VIDEO, 0xFFFFFF, b"", "09000000ffffff00000000" + "0000000b"),
    ("audio of 25 bits", AUDIO, 0x1000000, b"a", "08000001000000010000006100" + "00000c"),
    ("audio before it wraps", AUDIO, 0xFFFFFFFF, b"a", "08000001ffffffff0000006100" + "00000c"),
]


GOOD = flv.file_header(has_video=True, has_audio=True)

# name, file, what is said of it
BROKEN_FILES = [
    ("another file", b"RIFF", "not an FLV file"),
    ("a later version", b"FLV\x02\x05\0\0\0\x09\0\0\0\0", "not an FLV file"),
    ("a longer header", b"FLV\x01\x05\0\0\0\x0d\0\0\0\0", "unknown header"),
    ("no tag type", GOOD + b"\x07" + bytes(10), "no FLV tag at offset 13"),
    ("an encrypted tag", GOOD + b"\x29" + bytes(10), "no FLV tag at offset 13"),
    ("a stream id", GOOD + b"\x09\0\0\0\0\0\0\0\0\0\x01", "no FLV tag at offset 13"),
    ("a wrong size behind", GOOD + flv.tag(AUDIO, 0, b"abc")[:-1] + b"\xff", "does not end"),
    ("a wrong second tag", GOOD + flv.tag(AUDIO, 0, b"abc") + bytes(11), "no FLV tag at offset 31"),
]
