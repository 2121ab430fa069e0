"""What a sender builds is what we read, whatever its separators, character set and line ends; and no byte of it changes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from schemas.hl7v2.message import Message

#: MSH-18 and a codec that can write it; UTF-16 and UTF-32 name themselves by their bytes
CHARSETS = {
    "": "utf-8",
    "ASCII": "ascii",
    "8859/1": "iso8859-1",
    "8859/5": "iso8859-5",
    "8859/15": "iso8859-15",
    "UNICODE UTF-8": "utf-8",
    "GB 18030-2000": "gb18030",
    "BIG-5": "cp950",
    "KS X 1001": "cp949",
    "CNS 11643-1992": "cns11643",
    "ISO IR87": "iso2022_jp_ext",
    "UNICODE UTF-16": "utf-16-le",
    "UNICODE UTF-32": "utf-32-be",
}
#: that occur in no name of table 0211
PUNCTUATION = "|^~\\&#$%*!@+=:;<>?`{}\"'"

Field = list[list[list[str]]]  # repetitions of components of subcomponents


@lru_cache(maxsize=10_000)
def _writable(codec: str, text: str) -> bool:
    try:
        return text.encode(codec).decode(codec) == text
    except UnicodeError:
        return False


@dataclass(frozen=True)
class Sender:
    charset: str
    field: str
    encoding: str  # MSH-2: component, repetition, escape, subcomponent, as far as there are

    @property
    def codec(self) -> str:
        return CHARSETS[self.charset]

    def separator(self, which: int) -> str:
        return self.encoding[which : which + 1]

    def escaped(self, text: str) -> str:
        escape = self.separator(2)
        names = {self.field: "F", **dict(zip(self.encoding, "SRET", strict=False))}
        return "".join(f"{escape}{names[c]}{escape}" if c in names else c for c in text)

    def fits(self, text: str) -> bool:
        """Whether this sender can write it: in its character set, and without an escape character no separator."""
        held = set(text) & {self.field, *self.encoding}
        return not (held and not self.separator(2)) and _writable(self.codec, text)

    def built(self, field: Field) -> str:
        repetitions = (
            self.separator(0).join(self.separator(3).join(map(self.escaped, component)) for component in repetition)
            for repetition in field
        )
        return self.separator(1).join(repetitions)


@st.composite
def senders(draw: st.DrawFn) -> Sender:
    marks = draw(st.permutations(PUNCTUATION))
    return Sender(draw(st.sampled_from(sorted(CHARSETS))), marks[0], "".join(marks[1 : 1 + draw(st.integers(0, 4))]))


def texts(sender: Sender) -> st.SearchStrategy[str]:
    """Every letter of its set, and many separators. No control characters: those of ISO 2022 would switch the set."""
    characters = st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"], exclude_characters="\ufffd", codec="utf-8")
    local = st.sampled_from("äßЖ許功蓋山田ﾔ김똠€é中犇ñ")
    some = st.text(characters | local | st.sampled_from(PUNCTUATION) | st.sampled_from("FSRETXHN.br"), max_size=12)
    fitting = some.map(lambda text: "".join(c for c in text if sender.fits(c)).strip())
    return fitting.filter(lambda text: text != '""' and sender.fits(text))


@st.composite
def fields(draw: st.DrawFn, sender: Sender) -> Field:
    most = [3 if sender.separator(which) else 1 for which in (1, 0, 3)]
    subcomponents = st.lists(texts(sender), min_size=1, max_size=most[2])
    components = st.lists(subcomponents, min_size=1, max_size=most[1])
    return draw(st.lists(components, min_size=1, max_size=most[0]))


@settings(max_examples=60)
@given(data=st.data(), sender=senders())
def test_any_text_in_any_field_is_read_back(data: st.DataObject, sender: Sender) -> None:
    segments = data.draw(st.lists(st.lists(fields(sender), min_size=1, max_size=4), min_size=1, max_size=3))
    head = sender.field.join(["MSH" + sender.field + sender.encoding, *[""] * 7, "C1", "", "2.5.1", *[""] * 5, sender.charset])
    lines = [sender.field.join([f"ZZ{number}", *map(sender.built, held)]) for number, held in enumerate(segments)]
    assume(all(line.strip() for line in lines))
    sent = "".join(line + data.draw(st.sampled_from(["\r", "\n", "\r\n", "\r\r", "\n\r"])) for line in (head, *lines))
    raw = sent.encode(sender.codec)

    message = Message.parse(raw)

    assert bytes(message) == raw
    assert (message.undecodable_at, message.message_control_id) == (None, "C1")
    assert [segment.name for segment in message.segments] == ["MSH", *(f"ZZ{number}" for number in range(len(segments)))]
    for segment, line, held in zip(message.segments[1:], lines, segments, strict=True):
        assert segment.line == line
        for number, field in enumerate(held, 1):
            assert segment.value(number) == field[0][0][0]
            shown = [repetition for repetition in field if sender.built([repetition])]
            for repetition, components in zip(segment.repetitions(number), shown, strict=True):
                for at, subcomponents in enumerate(components, 1):
                    assert [repetition.component(at, n) for n in range(1, len(subcomponents) + 2)] == [*subcomponents, ""]
                assert repetition.component(len(components) + 1) == ""


@given(
    st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\r", b"").replace(b"\n", b"")), max_size=8),
    st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"\n\n\r"]), min_size=9, max_size=9),
    st.sampled_from(sorted(CHARSETS)),
)
def test_line_ends_change_nothing_but_the_bytes(lines: list[bytes], ends: list[bytes], charset: str) -> None:
    """The same segments, Z segments among them, whatever ends them; and an unmodified message writes back byte for byte."""
    assume(charset not in ("UNICODE UTF-16", "UNICODE UTF-32"))  # these hold 0x0A and 0x0D within characters
    head = b"MSH|^~\\&|A|B|||||ORM^O01|C1|P|2.5.1||||||" + charset.encode()
    parts = [head, *(b"Z" + line for line in lines)]
    plain = Message.parse(b"\r".join(parts))
    mixed_bytes = b"".join(part + end for part, end in zip(parts, ends, strict=False))
    mixed = Message.parse(mixed_bytes)
    assert bytes(mixed) == mixed_bytes
    if charset != "ISO IR87" and charset != "CNS 11643-1992":  # an escape sequence may reach over a line end
        assert [segment.line for segment in mixed.segments] == [segment.line for segment in plain.segments]
