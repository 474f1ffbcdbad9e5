"""BitReader and BitWriter: codec headers bit by bit, with Exp-Golomb numbers (H.264 §9.1)."""

from relay.errors import ProtocolError

_MOST_BYTES = 1024


class BitReader:
    """Reads big-endian bits from ``data``. Raises ProtocolError past its end.

    Only its first 1024 bytes count: what is looked for stands at the front, and each read costs time
    proportional to the length.
    """

    __slots__ = ("_left", "_value")

    def __init__(self, data: bytes) -> None:
        data = data[:_MOST_BYTES]
        self._value = int.from_bytes(data, "big")
        self._left = len(data) * 8

    @property
    def left(self) -> int:
        """How many bits are yet to be read."""
        return self._left

    def read(self, count: int) -> int:
        """The next ``count`` bits as an unsigned number."""
        self._left -= count
        if self._left < 0:
            raise ProtocolError("codec header is cut short")
        return self._value >> self._left & (1 << count) - 1

    def skip(self, count: int) -> None:
        self.read(count)

    def ue(self) -> int:
        """An unsigned Exp-Golomb number."""
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros > 32:
                raise ProtocolError("codec header has an impossible number in it")
        return (1 << zeros) - 1 + self.read(zeros)

    def se(self) -> int:
        """A signed Exp-Golomb number."""
        code = self.ue()
        return (code + 1) // 2 if code & 1 else -(code // 2)


class BitWriter:
    """Big-endian bits one after another: ``count`` of them so far, ``value`` as one number."""

    __slots__ = ("count", "value")

    def __init__(self) -> None:
        self.value = 0
        self.count = 0

    def write(self, count: int, number: int) -> None:
        """``number`` in ``count`` bits; it must fit."""
        self.value = self.value << count | number
        self.count += count

    def ue(self, number: int) -> None:
        """An unsigned Exp-Golomb number."""
        self.write(2 * (number + 1).bit_length() - 1, number + 1)

    def data(self) -> bytes:
        """The bits so far, filled up to whole bytes with zeros."""
        size = (self.count + 7) // 8
        return (self.value << 8 * size - self.count).to_bytes(size, "big")


def unescape(nal: bytes) -> bytes:
    """``nal`` without emulation prevention bytes (H.264 §7.4.1.1, H.265 §7.4.2)."""
    return nal.replace(b"\0\0\x03", b"\0\0")
