"""What a peer is answered: by mode, by its terms, by what became of the message."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.mllp.codes import NEVER_ACCEPTED, STANDARD, Trouble, code_for
from connectors.mllp.conversations import Conversations
from connectors.mllp.dialogue import Dialogue, Received, Terms
from connectors.mllp.framing import Fault, Frame, FrameDecoder, Garbage
from schemas.hl7v2.acknowledgement import AcknowledgementCode, acknowledge, read_acknowledgement
from schemas.hl7v2.admission import Admission
from schemas.hl7v2.header import Header
from schemas.hl7v2.message import Message

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def message(
    control_id: str = "C1", *, commit: str = "", application: str = "", kind: str = "ORM^O01", processing_id: str = "P"
) -> bytes:
    return f"MSH|^~\\&|RIS|H|||20260101||{kind}|{control_id}|{processing_id}|2.5.1|||{commit}|{application}\rPID|SECRET\r".encode()


class Peer:
    """One connection, seen from the peer: contents of the frames it reads."""

    def __init__(self, terms: Terms | None = None, conversations: Conversations | None = None) -> None:
        self.later: list[bytes] = []
        self.conversations = conversations or Conversations("process")
        self.dialogue = Dialogue(terms or Terms(), self.conversations, lambda answer: self.later.extend(frames(answer)))

    def receive(self, item: bytes | Garbage) -> list[Received]:
        return self.dialogue.received(Frame(item) if isinstance(item, bytes) else item, "10.0.0.1:1", AT)

    def say(self, item: bytes | Garbage, *, stored: bool = True) -> list[bytes]:
        return [one for got in self.receive(item) for one in frames(self.dialogue.answer(got, stored))]

    def codes(self, item: bytes | Garbage, *, stored: bool = True) -> list[str]:
        return [code_of(content) for content in self.say(item, stored=stored)]


def frames(data: bytes) -> list[bytes]:
    decoder = FrameDecoder()
    found = decoder.feed(data)
    assert all(isinstance(one, Frame) for one in found)
    assert not decoder.waiting
    return [one.content for one in found]


def code_of(content: bytes) -> str:
    return {b"\x06": "commit", b"\x15": "no commit"}.get(content) or read_acknowledgement(content).code


@pytest.mark.parametrize(
    ("charset", "default", "codec", "facility"),
    [
        ("BIG-5", "UNICODE UTF-8", "big5", "台大醫院"),
        ("", "BIG-5", "big5", "台大醫院"),
        ("GB 18030-2000", "UNICODE UTF-8", "gb18030", "\N{CJK UNIFIED IDEOGRAPH-4E02}亅"),
        ("~ISO IR87", "UNICODE UTF-8", "iso2022_jp", "日本病院"),
        ("8859/1", "BIG-5", "latin-1", "Hôpital é"),
        ("", "UNICODE UTF-8", "utf-8", "台大醫院"),
        ("nonsense", "BIG-5", "utf-8", "台大醫院"),
    ],
)
def test_the_answer_names_the_message_whatever_the_bytes_of_its_senders_name(
    charset: str, default: str, codec: str, facility: str
) -> None:
    """The last character of "hospital" ends with the byte of a field separator in Big5; so does half of JIS X 0208."""
    sent = f"MSH|^~\\&|HIS|{facility}|||20260101||ORM^O01|C1|P|2.5.1||||||{charset}|X\rPID|SECRET\r".encode(codec)
    [content] = Peer(Terms(default_charset=default)).say(sent)
    ack = read_acknowledgement(content)
    assert (ack.code, ack.message_control_id) == ("AA", "C1")
    assert facility.encode(codec) in content
    if charset != "nonsense":
        assert Message.parse(sent, default).header.value(4) == facility


# ------------------------------------------------------------------------------------------------------------- modes


def test_original_mode() -> None:
    assert Peer().codes(message()) == ["AA"]
    assert Peer().codes(message(), stored=False) == ["AE"]
    assert Peer().codes(b"garbage") == ["AR"]
    assert Peer().codes(b"garbage", stored=False) == ["AE"]
    assert [got.answer_to for got in Peer().receive(message())] == [""]


@pytest.mark.parametrize(
    ("commit", "good", "bad"),
    [("AL", ["CA"], ["CR"]), ("NE", [], []), ("ER", [], ["CR"]), ("SU", ["CA"], []), ("al", ["CA"], ["CR"]), ("?", ["CA"], ["CR"])],
)
def test_the_commit_answer_is_what_msh_15_wants(commit: str, good: list[str], bad: list[str]) -> None:
    assert Peer().codes(message(commit=commit)) == good
    assert Peer().codes(message(commit=commit, processing_id="T")) == bad
    assert Peer().codes(message(commit=commit), stored=False) == [code.replace("R", "E") for code in bad]


def test_without_a_commit_answer_the_application_answer_tells_what_goes_no_further() -> None:
    for application, expected in {"AL": ["AR"], "ER": ["AR"], "SU": [], "NE": []}.items():
        assert Peer().codes(message(application=application, processing_id="T")) == expected
        assert Peer().codes(message(application=application), stored=False) == [code.replace("R", "E") for code in expected]
        assert Peer().codes(message(application=application)) == []


def test_err_names_what_and_where() -> None:
    [answer] = Peer().say(message(processing_id="T"))
    assert b"\rERR||MSH^1^11|202^Unsupported processing id^HL70357|E" in answer
    [answer] = Peer().say(message(), stored=False)
    assert b"\rERR|||207^Application internal error^HL70357|E" in answer
    [answer] = Peer().say(Garbage(message() + b"x" * 100, Fault.TOO_LARGE))
    assert read_acknowledgement(answer).condition == "104"
    assert read_acknowledgement(answer).message_control_id == "C1"


def test_an_acknowledgement_is_kept_and_not_acknowledged() -> None:
    ack = acknowledge(Header.read(message()), AcknowledgementCode.ACCEPT, AT)
    [got] = Peer().receive(ack)
    assert not got.refused
    assert Peer().say(ack) == Peer().say(ack, stored=False) == []


def test_but_for_a_commit_answer_it_may_ask_and_that_is_the_end() -> None:
    ack = acknowledge(Header.read(message()), AcknowledgementCode.ACCEPT, AT, accept="AL")
    [committed] = Peer().say(ack)
    assert code_of(committed) == "CA"
    assert Peer().say(committed) == []
    [got] = Peer().receive(message(kind="ACK", commit="AL", application="AL"))
    assert got.answer_to == ""


def test_stray_bytes_are_kept_and_nobody_waits_for_an_answer() -> None:
    peer = Peer(Terms(commit_bytes=True))
    for fault in (Fault.STRAY, Fault.UNFINISHED, Fault.TOO_LARGE_REST):
        [got] = peer.receive(Garbage(b"xyz", fault))
        assert (got.refused, got.content, peer.dialogue.answer(got, True)) == (True, b"xyz", b"")


# ------------------------------------------------------------------------------------------------------------- terms


def test_the_standard_is_the_default_and_a_peer_may_have_it_another_way() -> None:
    assert Peer(Terms(codes={Trouble.STORAGE: "reject"})).codes(message(), stored=False) == ["AR"]
    assert Peer(Terms(codes={Trouble.STORAGE: "reject"})).codes(message(commit="AL"), stored=False) == ["CR"]
    assert Peer(Terms(codes={Trouble.UNREADABLE: "error"})).codes(b"garbage") == ["AE"]
    assert Peer(Terms(codes={Trouble.UNSUPPORTED: "accept"})).codes(message(processing_id="T")) == ["AA"]


def test_the_table_is_whole() -> None:
    assert set(STANDARD) == set(Trouble)
    assert not any(STANDARD[trouble] == "accept" for trouble in Trouble)
    assert all(code_for(None, {}, commit=commit) == code for commit, code in ((False, "AA"), (True, "CA")))
    assert set(NEVER_ACCEPTED) < set(Trouble)


def test_what_this_site_does_not_take_is_refused_and_kept() -> None:
    terms = Terms(admission=Admission(unused_types="refuse"))
    [got] = Peer(terms).receive(message(kind="BAR^P01"))
    assert (got.refused, got.trouble, got.content) == (True, Trouble.UNSUPPORTED, message(kind="BAR^P01"))
    assert Peer(terms).codes(message(kind="BAR^P01")) == ["AR"]
    assert Peer().codes(message(kind="BAR^P01")) == ["AA"]


def test_two_messages_in_one_frame_are_refused_by_the_first_ones_id() -> None:
    [answer] = Peer().say(message("C1") + message("C2"))
    read = read_acknowledgement(answer)
    assert (read.code, read.message_control_id, read.condition) == ("AR", "C1", "100")


# ------------------------------------------------------------------------------------------------- MLLP release 2


def test_commit_bytes_come_before_any_answer() -> None:
    terms = Terms(commit_bytes=True)
    assert Peer(terms).codes(message()) == ["commit", "AA"]
    assert Peer(terms).codes(message(), stored=False) == ["no commit", "AE"]
    assert Peer(terms).codes(b"garbage") == ["no commit", "AR"]
    assert Peer(terms).codes(message(commit="AL")) == ["commit", "CA"]
    assert Peer(terms).codes(message(commit="NE", application="NE")) == ["commit"]
    assert Peer(terms).codes(message(kind="ACK")) == ["commit"]


def test_the_peers_own_commit_bytes_are_no_messages() -> None:
    for byte in (b"\x06", b"\x15"):
        assert Peer(Terms(commit_bytes=True)).receive(byte) == []
        [got] = Peer().receive(byte)
        assert (got.refused, got.content) == (True, byte)


# ----------------------------------------------------------------------------------------------------------- batches


def test_each_message_of_a_batch_has_its_own_answer() -> None:
    batch = b"FHS|^~\\&\rBHS|^~\\&\r" + message("A") + message("B", processing_id="T") + b"BTS|2\rFTS|1\r"
    got = Peer().receive(batch)
    assert b"".join(one.before + one.content + one.behind for one in got) == batch
    assert [one.refused for one in got] == [False, True]
    answers = [read_acknowledgement(content) for content in Peer().say(batch)]
    assert [(ack.code, ack.message_control_id) for ack in answers] == [("AA", "A"), ("AR", "B")]


def test_a_broken_batch_is_one_refusal() -> None:
    batch = b"BHS|^~\\&|RIS|H|||||||B-7\r" + message("A") + b"FHS|^~\\&\r"
    [got] = Peer().receive(batch)
    assert (got.content, got.refused) == (batch, True)
    [answer] = Peer().say(batch)
    read = read_acknowledgement(answer)
    assert (read.code, read.message_control_id, read.condition) == ("AR", "B-7", "100")
    assert b"SECRET" not in answer


# --------------------------------------------------------------------------------------------------- answers that come later


def test_an_application_answer_finds_its_connection_alone() -> None:
    conversations = Conversations("process")
    one, other = Peer(conversations=conversations), Peer(conversations=conversations)
    [got] = one.receive(message(commit="AL", application="AL"))
    one.dialogue.answer(got, True)
    assert conversations.ours(got.answer_to)
    assert conversations.tell(got.answer_to, b"answer")
    assert (one.later, other.later) == ([b"answer"], [])
    assert not Conversations("another").ours(got.answer_to)
    assert not conversations.tell("process/99/1", b"answer")
    assert not conversations.tell("nonsense", b"answer")


def test_it_never_comes_before_the_commit_answer() -> None:
    peer = Peer()
    first, second = (peer.receive(message(name, commit="AL", application="AL"))[0] for name in ("C1", "C2"))
    peer.dialogue.answer(first, True)
    assert peer.conversations.tell(second.answer_to, b"answer")
    assert peer.later == []
    assert [code if code == b"answer" else code_of(code) for code in frames(peer.dialogue.answer(second, True))] == [
        "CA",
        b"answer",
    ]


def test_after_the_connection_is_closed_nobody_is_told() -> None:
    peer = Peer()
    [got] = peer.receive(message(application="AL"))
    peer.dialogue.answer(got, True)
    peer.dialogue.close()
    assert not peer.conversations.tell(got.answer_to, b"answer")
    assert peer.later == []


def test_a_return_address_is_where_it_goes() -> None:
    [got] = Peer(Terms(return_address="ris:2576")).receive(message(application="AL"))
    assert got.answer_to == "ris:2576"
    assert [one.answer_to for one in Peer().receive(message(commit="AL", application="NE"))] == [""]


_items = st.one_of(
    st.binary(max_size=30),
    st.binary(max_size=30).map(lambda tail: b"MSH|^~\\&|" + tail),
    st.builds(message, st.text("AB\x1c\x0b^|", max_size=4), commit=st.sampled_from(["", "AL", "NE", "ER", "SU"]),
              application=st.sampled_from(["", "AL", "NE"]), processing_id=st.sampled_from("PTD")),
    st.lists(st.sampled_from([b"BHS|^~\\&\r", b"FHS\r", message("A"), b"BTS|1\r", b"x"]), max_size=4).map(b"".join),
)  # fmt: skip


@given(items=st.lists(_items, max_size=5), stored=st.booleans(), commit_bytes=st.booleans())
def test_whatever_comes_nothing_is_lost_and_every_answer_is_whole_frames(
    items: list[bytes], stored: bool, commit_bytes: bool
) -> None:
    peer = Peer(Terms(commit_bytes=commit_bytes))
    for item in items:
        got = peer.receive(item)
        if not (commit_bytes and item in (b"\x06", b"\x15")):
            assert b"".join(one.before + one.content + one.behind for one in got) == item
        for one in got:
            codes = [code_of(content) for content in frames(peer.dialogue.answer(one, stored))]
            assert not ((one.refused or not stored) and set(codes) & {"AA", "CA", "commit"})
