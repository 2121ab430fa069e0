"""HL7 messages and frames, broken in every way that networks, engines and people break them; the same seed, the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from connectors.mllp.framing import frame

#: of the listener under test; some messages are made larger
SIZE_LIMIT = 16 * 1024

_CHARSETS = (
    ("", "ascii", "Miller^Anna"),
    ("UNICODE UTF-8", "utf-8", "Müller^Änne 王"),
    ("8859/1", "latin-1", "Müller^Änne"),
    ("BIG-5", "big5", "許^功蓋"),  # trail bytes that look like | and \
    ("GB 18030-2000", "gb18030", "王^小明"),
    ("ISO IR87", "iso2022_jp", "山田^太郎"),
    ("KS X 1001", "euc_kr", "김^철수"),
)
_KINDS = (
    ("ORM^O01^ORM_O01", "ORC|NW|PL{n}^HIS|AC{n}^RIS\rOBR|1|PL{n}^HIS|AC{n}^RIS|36643-5^XR chest^LN\r"),
    ("OMI^O23^OMI_O23", "ORC|CA|PL{n}^HIS|AC{n}^RIS\rOBR|1|PL{n}^HIS|AC{n}^RIS|36643-5^XR chest^LN\rIPC|AC{n}|1|1.2.3.{n}\r"),
    ("ORU^R01^ORU_R01", "OBR|1|PL{n}|AC{n}|36643-5||||||||||||||||||||||F\rOBX|1|TX|36643-5||No nodule.\\.br\\Normal.||||||F\r"),
    ("ADT^A40^ADT_A39", "MRG|OLD{n}^^^HOSPITAL^MR\r"),
)
_FRAMING = (b"\x0b", b"\x1c", b"\r", b"\n", b"\x1c\r", b"\x0bMSH|^~\\&|", b"\x1c\r\x0b", b"\x00", b"\xef\xbb\xbf")


def message(random: Random, number: int) -> bytes:
    """A good one; its MSH-10 is its own."""
    charset, codec, name = random.choice(_CHARSETS)
    kind, body = random.choice(_KINDS)
    version = random.choice(("2.3", "2.3.1", "2.4", "2.5.1", "2.8"))
    text = (
        f"MSH|^~\\&|RIS{number % 7}|H|ENGINE|H|20260101120000||{kind}|F{number:07d}|P|{version}||||||{charset}\r"
        f"PID|1||P{number}^^^HOSPITAL^MR||{name}||19700101|F\r{body.format(n=number)}"
    )
    return text.encode(codec, "replace")


def wire(random: Random, number: int) -> bytes:
    """What a peer sends: a frame, a batch in a frame, or what became of them."""
    data = frame(message(random, number) if random.random() < 0.9 else _batch(random, number))
    for _ in range(random.choice((0, 1, 1, 1, 2, 4))):
        data = random.choice(_MUTATIONS)(random, data)
    return data


def _batch(random: Random, number: int) -> bytes:
    count = random.randint(1, 3)
    head = f"FHS|^~\\&|RIS|H\rBHS|^~\\&|RIS|H||||||||B{number}\r".encode()
    tail = f"BTS|{random.choice((count, count, count + 1))}\rFTS|1\r".encode()
    parts = random.choice(((head, tail), (head, b""), (b"BHS|^~\\&|RIS|H\r", b"BTS|1\r")))
    return parts[0] + b"".join(message(random, number) for _ in range(count)) + parts[1]


def _place(random: Random, data: bytes) -> int:
    return random.randint(0, len(data))


def _slice(random: Random, data: bytes) -> tuple[int, int]:
    begin = _place(random, data)
    return begin, min(len(data), begin + random.choice((1, 1, 3, 20, 200)))


def _bit_flips(random: Random, data: bytes) -> bytes:
    flipped = bytearray(data)
    for _ in range(random.choice((1, 2, 8)) if flipped else 0):
        flipped[random.randrange(len(flipped))] ^= 1 << random.randrange(8)
    return bytes(flipped)


def _cut(random: Random, data: bytes) -> bytes:
    begin, end = _slice(random, data)
    return data[:begin] + data[end:]


def _cut_off(random: Random, data: bytes) -> bytes:
    return data[: _place(random, data)]


def _doubled(random: Random, data: bytes) -> bytes:
    begin, end = random.choice((_slice(random, data), (0, len(data)), (0, 1), (max(0, len(data) - 2), len(data))))
    return data[:end] + data[begin:]


def _inserted(random: Random, data: bytes) -> bytes:
    at = _place(random, data)
    return data[:at] + random.choice(_FRAMING) + data[at:]


def _oversize(random: Random, data: bytes) -> bytes:
    at, size = _place(random, data), random.choice((SIZE_LIMIT - 500, SIZE_LIMIT, 2 * SIZE_LIMIT + 3))
    return data[:at] + b"\rNTE|1||" + random.randbytes(size // 2).hex().encode() + data[at:]  # no two parts of it alike


def _other_charset(random: Random, data: bytes) -> bytes:
    names = [charset.encode() for charset, *_ in _CHARSETS if charset]
    wrong = random.choice((*names, b"UNICODE UTF-16", b"KLINGON", b"8859/1~ISO IR87"))
    for name in names:
        if name in data:
            return data.replace(name, wrong, 1)
    return data.replace(b"||||||\rPID", b"||||||" + wrong + b"\rPID", 1)


def _utf_16(random: Random, data: bytes) -> bytes:
    return frame(data.strip(b"\x0b\x1c\r").decode("latin-1").encode(random.choice(("utf-16", "utf-16-le", "utf-32"))))


_MUTATIONS: tuple[Callable[[Random, bytes], bytes], ...] = (
    _bit_flips,
    _cut,
    _cut_off,
    _doubled,
    _inserted,
    _oversize,
    _other_charset,
    _utf_16,
    lambda random, data: random.randbytes(random.randint(0, 300)) + data,
    lambda _, data: data.removeprefix(b"\x0b"),
    lambda _, data: data.removesuffix(b"\x1c\r"),
    lambda _, data: data.removesuffix(b"\r"),
    lambda _, data: data.replace(b"\r", b"\n").removesuffix(b"\n") + b"\r",
    lambda _, data: data.replace(b"\r", b"\r\n"),
    lambda _, data: data.replace(b"P|2.", b"T|2.", 1),
    lambda random, data: data.replace(b"|P|", random.choice((b"|P|9.", b"||", b"|P|2.5.1||||AL|AL|")), 1),
)
