"""A letter taken apart: what is wrong is marked, and without --reveal nothing of a patient is shown, whatever the value is."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import MalformedMessage, ResourceRefused, UnsupportedMessage
from schemas.findings import Findings
from schemas.hl7v2.message import Message
from schemas.ports import Place, Record
from schemas.renderings.fhir.bundle import bundle_of
from streams import topics
from streams.dead_letters.acts import discarded, resent
from streams.dead_letters.decoded import decoded, masked
from streams.dead_letters.faults import Fault, fault_of, faulty
from streams.dead_letters.latest import state_of
from streams.dead_letters.showing import in_words, shown
from streams.dead_letters.standing import read_letters, record_of
from tests.contract.example_findings import SITE
from tests.contract.fake_history import FakeHistory
from tests.unit.any_findings import any_findings
from tests.unit.dead_letter_topics import CLOCK, MESSAGE, OF, PEER, failed, letter_in, new_log, original

TWO_GROUPS = b"MSH|^~\\&|RIS|H|||20261130||ORM^O01|1|P|2.5.1\rPID|1||4711\rORC|NW|P1\rOBR|1\rORC|??|P2\rOBR|2\r"


async def show(record: Record, error: Exception, step: str = "normalise", *, reveal: bool = False) -> dict[str, Any]:
    log = new_log()
    letter = await letter_in(log, failed(record, step, error))
    return shown(await read_letters(log), letter, await record_of(FakeHistory(log), letter), "UNICODE UTF-8", reveal=reveal)


def marked(told: dict[str, Any]) -> list[tuple[str, str]]:
    return [(part["place"], part["value"]) for part in told["value"] if part["wrong"]]


@pytest.mark.parametrize(
    ("reason", "fault"),
    [
        ("PID-3.1: holds a control character", Fault("PID", 3, 1)),
        ("ORC-1 of group 2: is no order control code that is read", Fault("ORC", 1, None, 2)),
        ("MSH: two messages in one", Fault("MSH")),
        ("group 2: holds neither", Fault(group=2)),
        ("PID-3: holds a byte that is not ASCII, at offset 61", Fault("PID", 3, offset=61)),
        ("hl7.v2.raw/2/41: PID-3 is not what it says", Fault()),
        ("unexpected", Fault()),
    ],
)
def test_the_reason_says_where(reason: str, fault: Fault) -> None:
    assert fault_of(reason) == fault


async def test_the_byte_and_its_field_are_marked() -> None:
    at = MESSAGE.index(b"\xff")
    told = await show(original(), MalformedMessage("normalise", "PID-3", f"holds a byte that is not UTF-8, at offset {at}"))
    assert marked(told) == [(f"at offset {at}", ".xxx|9||[ff]9999||xx"), ("PID-3", "\ufffd9999")]
    text = in_words(told)
    assert ">> PID-3" in text
    assert "ORM^O01" in text  # of MSH what no patient is in
    for secret in ("4711", "DOE", "JANE"):
        assert secret not in text + json.dumps(told)
    assert "DOE^JANE" in in_words(await show(original(), MalformedMessage("normalise", "PID-3", "x"), reveal=True))


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("ORC-1 of group 2", [("ORC-1", "??")]),
        ("PID-3.1", [("PID-3", "9999"), ("PID-3.1", "9999")]),
        ("PID-8", [("PID-8", "(absent)")]),
        ("PV1-19", [("PV1-19", "(absent)")]),
        ("PID", [("PID-1", "9"), ("PID-3", "9999")]),
        ("group 2", [("ORC-1", "??"), ("ORC-2", "x9"), ("OBR-1", "9")]),
    ],
)
async def test_the_field_that_is_named_is_marked_and_no_other(reference: str, expected: list[tuple[str, str]]) -> None:
    told = await show(original(value=TWO_GROUPS), UnsupportedMessage("normalise", reference, "is wrong"))
    assert marked(told) == expected


async def test_a_character_set_that_is_not_read_is_marked_where_it_is_named() -> None:
    value = MESSAGE.replace(b"|2.5.1", b"|2.5.1||||||KLINGON")
    told = await show(original(value=value), UnsupportedMessage("read", "MSH-18", "is no character set that is read"))
    assert marked(told) == [("MSH-18", "KLINGON")]
    assert "DOE" not in in_words(told)


def test_of_several_segments_the_one_with_the_byte_is_meant() -> None:
    message = Message.parse(TWO_GROUPS.replace(b"OBR|2", b"NTE|1||ok\rNTE|2||\xff"))
    at = message.raw.index(b"\xff")
    (found,) = faulty(message, Fault("NTE", 3, offset=at))
    assert found.field(1) == "2"


async def test_bytes_that_are_no_message_are_shown_as_bytes_to_whoever_may_see_them() -> None:
    garbage = replace(original(value=b"GET /4711 HTTP/1.1"), place=Place("mllp", 0, 0))
    error = MalformedMessage("listen", "MSH", "no")
    assert [part["value"] for part in (await show(garbage, error, "listen"))["value"]] == ["18 bytes (hidden)"]
    assert "GET /4711 HTTP/1" in in_words(await show(garbage, error, "listen", reveal=True))


async def test_a_member_that_breaks_the_shape_of_its_event_is_marked() -> None:
    event = b'{"id":"x","time":"2026-11-30T08:00:00Z","source":"DOE 4711","extra":[1,{"a":true}]}'
    headers = (("ce_type", b"org.radstream.study.noticed.v1"),)
    told = await show(
        original(topic=topics.NOTICES, headers=headers, value=event), MalformedMessage("complete", "x", "y"), "complete"
    )
    assert {("id", '"x"'), ("xxxxx[0]", "9"), ("xxxxx[1].x", "true")} <= set(marked(told))
    assert "4711" not in json.dumps(told)
    assert '"xxx 9999"' in in_words(told)


async def test_json_that_breaks_off_is_marked_where_it_does() -> None:
    told = await show(
        original(topic=topics.ORDERS, headers=(), value='{"é": '.encode()), MalformedMessage("correlate", "x", "y"), "c"
    )
    assert marked(told) == [("at offset 7", "the end of the value")]


async def test_what_a_receiver_answered_is_told_without_its_words() -> None:
    outcome = {"issue": [{"code": "invalid", "expression": ["DiagnosticReport.subject"], "diagnostics": "DOE 4711 is unknown"}]}
    error = ResourceRefused("deliver", "study", "422", json.dumps(outcome).encode())
    record = original(topic=topics.FINDINGS, headers=(("trace", b"DOE"), ("ce_id", b"1")), value=b"{}")
    told = await show(record, error, "deliver.fhir")
    assert told["answer"] == [{"place": "DiagnosticReport.subject", "value": "invalid", "wrong": True}]
    assert told["headers"] == [["trace", "(hidden)"], ["ce_id", "1"]]
    assert "DOE" not in in_words(told)
    assert "DOE 4711 is unknown" in in_words(await show(record, error, "deliver.fhir", reveal=True))
    for odd in (b"[]", b"\xff", b'{"issue": [4711]}', b'{"issue": [{"expression": ["a.where(b=\'DOE\')"], "code": "DOE"}]}'):
        assert "DOE" not in in_words(await show(record, ResourceRefused("deliver", "x", "y", odd), "deliver.fhir"))


@pytest.mark.parametrize("name", ["ce_id", "ce_source", "ce_type", "cause", "resent-from", "parked-from", "traceparent"])
async def test_a_header_that_the_his_wrote_is_hidden_as_the_key_is(name: str) -> None:
    error = MalformedMessage("normalise", "PID-3", "x")
    theirs = original(headers=((name, b"MRN-4711"), ("of MRN-4711", b"1")))
    told = await show(theirs, error)
    assert told["headers"] == [[name, "(hidden)"], ["(hidden)", "(hidden)"]]
    assert "4711" not in json.dumps(told) + in_words(told)
    assert ([name, "MRN-4711"] in (await show(theirs, error, reveal=True))["headers"]) is True
    ours = await show(original(headers=((name, b"MRN-4711"), ("peer", b"10.0.0.1:1"))), error)
    assert ours["headers"][0] == [name, "MRN-4711"]


async def test_a_letter_that_is_here_is_named_whoever_named_it() -> None:
    log = new_log()
    first = await letter_in(log, failed(original(headers=())))
    back = await letter_in(log, failed(original(9, headers=(("resent-from", str(first.place).encode()),))))
    told = shown(await read_letters(log), back, await record_of(FakeHistory(log), back), "ASCII", reveal=False)
    assert (told["came_from"], told["headers"]) == (str(first.place), [["resent-from", "(hidden)"]])


async def test_what_became_of_it_is_told() -> None:
    log = new_log()
    letter = await letter_in(log, failed(original()))
    back = failed(original(9, headers=(*PEER, ("resent-from", str(letter.place).encode()))))
    second = await letter_in(
        log,
        failed(original()),
        resent(letter, OF, "begun", CLOCK, "a" * 64),
        resent(letter, OF, "done", CLOCK, "a" * 64),
        discarded(letter, OF, CLOCK),
        back,
    )
    told = shown(await read_letters(log), letter, await record_of(FakeHistory(log), letter), "ASCII", reveal=False)
    text = in_words(told)
    assert f"sent again, corrected (SHA-256 aaaaaaaaaaaaaaaa...) by {OF.by}: {OF.reason}" in text
    assert f"discarded by {OF.by}" in text
    assert f"it came back as {second.id}, open" in text
    assert "written 2 times" in text


@pytest.mark.parametrize("name", ["SMITH^JOHN.1970", "smith", "สมชาย"])
def test_a_name_of_a_member_may_be_content(name: str) -> None:
    value = json.dumps({"kind": {name: 1}, "source": {"value": [{name: {}}]}}).encode()
    for type in ("", "org.radstream.study.noticed.v1", "org.radstream.findings.fhir-r4-bundle.v1"):
        parts = decoded(value, type, False, "ASCII", Fault(), reveal=False)
        assert not any(name in part.place for part in parts)
        assert any(part.place.startswith("source.value[0].x") for part in parts)
        assert any(part.place == f"kind.{name}" for part in decoded(value, type, False, "ASCII", Fault(), reveal=True))


@given(any_findings())
def test_names_of_what_we_write_are_shown(findings: Findings) -> None:
    for value in (bundle_of(findings, SITE), findings.model_dump_json().encode()):
        hidden, clear = (decoded(value, "", False, "ASCII", Fault(), reveal=reveal) for reveal in (False, True))
        assert [part.place for part in hidden] == [part.place for part in clear]


@pytest.mark.parametrize("depth", [65, 500, 900, 200_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"DOE":', b"}")])
async def test_what_is_nested_without_end_is_shown_as_bytes(depth: int, opening: bytes, closing: bytes) -> None:
    for value in (opening * depth + b"1" + closing * depth, opening * depth):
        (*_, part) = decoded(value, "org.radstream.order.placed.v1", False, "ASCII", Fault(), reveal=False)
        assert part.value == f"{len(value)} bytes (hidden)"
        assert state_of(topics.FINDINGS.name, value) is None
        error = ResourceRefused("deliver", "x", "y", value)
        told = await show(original(topic=topics.FINDINGS, headers=(), value=b"{}"), error, "deliver.fhir")
        assert told["answer"][0]["value"].endswith("bytes (hidden)")


def test_a_masked_value_shows_its_form() -> None:
    for name in ("สมชาย", "प्रिया", "M\N{COMBINING DIAERESIS}", "\N{ZERO WIDTH NON-JOINER}", "ﷲ", "①"):
        assert set(masked(name)) == {"x"}
    assert masked("٣") == "9"
    assert masked("Müller^Jörg 1970-01-02 王") == "xxxxxx^xxxx 9999-99-99 x"
    assert masked("a" * 100) == "x" * 80 + "... (100 characters)"


@given(
    st.binary(max_size=200)
    | st.sampled_from([b"MSH|^~\\&|"]).flatmap(lambda head: st.binary(max_size=100).map(lambda b: head + b)),
    st.booleans(),
    st.sampled_from(["PID-3.1: x", "PV1: x", "group 9: x", "unexpected, at offset 3"]),
)
def test_anything_can_be_shown(value: bytes, hl7: bool, reason: str) -> None:
    for reveal in (False, True):
        assert decoded(value, "org.radstream.order.placed.v1", hl7, "ASCII", fault_of(reason), reveal=reveal) is not None


@given(
    st.text(st.sampled_from("ZQÄ7"), min_size=3, max_size=30),
    st.sampled_from(["PID|1||{}", "{}", "{}|1970", "ZZZ|{}", "OBX|1|TX|||a^{}&{}~{}"]),
)
def test_nothing_of_a_message_is_shown_unless_it_may_be(secret: str, line: str) -> None:
    value = f"MSH|^~\\&|RIS|H|||20261130|{secret}|ORM^O01|1|P|2.5.1\r{line.replace('{}', secret)}\r".encode()
    parts = decoded(value, "", True, "UNICODE UTF-8", fault_of("PID-3: x"), reveal=False)
    text = " ".join(f"{part.place} {part.value}" for part in parts)
    assert secret not in text
