"""Writes codec headers bit by bit, for tests that read them back."""


class BitWriter:
    """Bits so far as a string of 0 and 1; every method returns the writer itself."""

    def __init__(self) -> None:
        self.text = ""

    def u(self, width: int, number: int) -> "BitWriter":
        assert 0 <= number < 1 << width
        self.text += f"{number:0{width}b}" if width else ""
        return self

    def ue(self, number: int) -> "BitWriter":
        digits = f"{number + 1:b}"
        self.text += "0" * (len(digits) - 1) + digits
        return self

    def se(self, number: int) -> "BitWriter":
        return self.ue(2 * number - 1 if number > 0 else -2 * number)

    def data(self) -> bytes:
        """The bits so far, filled up to whole bytes with zeros."""
        padded = self.text.ljust((len(self.text) + 7) // 8 * 8, "0")
        return int(padded or "0", 2).to_bytes(len(padded) // 8, "big")


def escape(nal: bytes) -> bytes:
    """``nal`` with emulation prevention bytes, written from H.264 §7.4.1.1."""
    out = bytearray()
    zeros = 0
    for byte in nal:
        if zeros >= 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)
