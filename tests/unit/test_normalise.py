"""The step `normalise`: topics, keys, headers, and what a HIS that produces straight onto the log may leave out."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from schemas.errors import MalformedMessage, MissingIdentifier, UnsupportedMessage
from schemas.hl7v2.paths import places
from schemas.hl7v2.site import Site
from schemas.ports import Headers, Outgoing, Place, Record
from streams.steps.normalise import normalise

SITE = Site(default_assigner="HOSPITAL")
TIMESTAMP = datetime(2026, 1, 1, tzinfo=UTC)
MSH = "MSH|^~\\&|RIS|H|||20260101120000||{}|C1|P|2.5.1\rPID|||P1^^^MPI\r"
ORDER = MSH.format("ORM^O01^ORM_O01") + "ORC|NW|PL1|FI1\rOBR||||||||||||||||||ACC1\r"


async def run(message: str, headers: Headers = (), key: bytes | None = None) -> list[Outgoing]:
    record = Record(Place("hl7.v2.raw", 1, 42), key, message.encode(), headers, TIMESTAMP)
    return list(await normalise(record, site=SITE))


@pytest.mark.parametrize("type", ["ORM^O01", "ORM^O01^ORM_O01", "OMI^O23^OMI_O23", "OMG^O19^OMG_O19", "orm^o01"])
async def test_orders(type: str) -> None:
    [record] = await run(ORDER.replace("ORM^O01^ORM_O01", type))
    headers = dict(record.headers)
    assert (record.topic, record.key) == ("imaging.orders", b"ACC1^HOSPITAL")
    assert headers["ce_type"] == b"org.radstream.order.placed.v1"
    assert headers["cause"] == b"hl7.v2.raw/1/42"
    assert json.loads(record.value)["id"] == headers["ce_id"].decode()


@pytest.mark.parametrize(
    ("groups", "key"),
    [
        ("ORC|NW|PL1^HIS|FI1^RIS\rOBR|1\r", b"FI1^HOSPITAL"),
        ("ORC|NW|PL1^HIS\rOBR|1\r", b"PL1^HIS"),
        ("ORC|NW|PL1^HIS\rOBR||||||||||||||||||ACC1\r", b"ACC1^HOSPITAL"),
    ],
)
async def test_the_key_is_the_best_known_number_with_its_assigner(groups: str, key: bytes) -> None:
    [record] = await run(MSH.format("ORM^O01") + groups)
    assert record.key == key


async def test_without_an_accession_number_the_key_is_the_placer_order_number() -> None:
    record = Record(Place("hl7.v2.raw", 1, 42), None, ORDER.replace("ACC1", "").encode(), (), TIMESTAMP)
    [out] = await normalise(record, site=SITE.model_copy(update={"accession_number": places("OBR-18")}))
    assert out.key == b"PL1^HOSPITAL"


@pytest.mark.parametrize(
    ("type", "segments", "topic", "key", "event"),
    [
        ("ORU^R01", "OBR|1|PL1|FI1\r", "imaging.reports", b"FI1^HOSPITAL", "report.drafted"),
        *((f"ADT^A{n}", "", "imaging.patients", b"P1^MPI", "patient.updated") for n in ("01", "04", "05", "08", "31")),
        *((f"ADT^A{n}", "MRG|P0\r", "imaging.patients", b"P1^MPI", "patient.merged") for n in ("18", "34", "40", "47")),
        ("ADT^A37", "PID|||P0\r", "imaging.patients", b"P1^MPI", "patient.unlinked"),
    ],
)
async def test_reports_and_patients(type: str, segments: str, topic: str, key: bytes, event: str) -> None:
    [record] = await run(MSH.format(type) + segments)
    assert (record.topic, record.key) == (topic, key)
    assert dict(record.headers)["ce_type"].decode() == f"org.radstream.{event}.v1"


@pytest.mark.parametrize("type", ["ORM^O01", "OMI^O23", "OMG^O19"])
async def test_a_completed_order_is_also_a_reason_to_look_for_its_study(type: str) -> None:
    done = MSH.format(type) + "ORC|SC|PL1|FI1||CM\rOBR||||||||||||||||||ACC1\rZDS|1.2.3\r"
    [order, notice] = await run(done)
    assert (order.topic, notice.topic, notice.key) == ("imaging.orders", "imaging.notices", b"1.2.3")
    assert dict(notice.headers)["ce_type"] == b"org.radstream.study.noticed.v1"
    assert dict(notice.headers)["ce_id"] != dict(order.headers)["ce_id"]
    assert await run(done, key=b"again") == [order, notice]


async def test_a_result_is_too() -> None:
    [report, notice] = await run(MSH.format("ORU^R01") + f"OBR|1|PL1|FI1{'|' * 22}F\r")
    assert (report.topic, notice.topic, notice.key) == ("imaging.reports", "imaging.notices", b"FI1^HOSPITAL")


async def test_of_a_notice_about_images_no_order_is_made() -> None:
    available = MSH.format("ORM^O01") + "ORC|\rOBR|1||FI1\rOBX|1|TX|ImagesAvailable^ImagesAvailable|1|1\rZDS|1.2.3\r"
    [notice] = await run(available)
    assert (notice.topic, json.loads(notice.value)["source"]) == ("imaging.notices", "hl7:images-available")
    assert await run(available.replace("|1|1", "|1|0")) == []


@pytest.mark.parametrize("type", ["SIU^S12", "ADT^A03", "ORM^O02", "ACK", "", "DOE^JANE"])
async def test_types_that_are_not_used(type: str) -> None:
    """The log says so, with type and place, and nothing of what may stand in their stead."""
    told = "other" if type in ("", "DOE^JANE") else type
    with capture_logs() as logs:
        assert await run(MSH.format(type)) == []
    assert logs == [{"event": "not used", "log_level": "info", "type": told, "place": "hl7.v2.raw/1/42"}]


async def test_the_default_character_set_of_the_listener() -> None:
    """A header of the raw record, where it is not that of the site."""
    sent = (MSH.format("ORM^O01") + "ORC|NW|PL許\rOBR|1\r").encode("big5")
    [order] = await normalise(Record(Place("hl7.v2.raw", 0, 0), None, sent, (("charset", b"BIG-5"),), TIMESTAMP), site=SITE)
    assert json.loads(order.value)["placer_order_number"]["value"] == "PL許"
    with pytest.raises(MalformedMessage, match="ORC-2"):
        await normalise(Record(Place("hl7.v2.raw", 0, 0), None, sent, (), TIMESTAMP), site=SITE)
    with pytest.raises(UnsupportedMessage, match="default character set"):
        await normalise(Record(Place("hl7.v2.raw", 0, 0), None, sent, (("charset", b"KLINGON"),), TIMESTAMP), site=SITE)
    named = sent.replace(b"|2.5.1", b"|2.5.1||||||BIG-5")
    [order] = await normalise(Record(Place("hl7.v2.raw", 0, 0), None, named, (("charset", b"ASCII"),), TIMESTAMP), site=SITE)
    assert json.loads(order.value)["placer_order_number"]["value"] == "PL許", "MSH-18 knows better"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32-le"])
async def test_a_his_may_produce_utf_16(encoding: str) -> None:
    record = Record(Place("hl7.v2.raw", 0, 0), None, ORDER.replace("ACC1", "山1").encode(encoding), (), TIMESTAMP)
    [order] = await normalise(record, site=SITE)
    assert order.key == "山1^HOSPITAL".encode()


@pytest.mark.parametrize(
    ("type", "first", "then"),
    [
        ("ORM^O01", "NTE\r", "ORC|NW|1\rOBR||1\r"),
        ("ORM^O01", "ORC|NW|1\r", "PID|1\rNTE\r"),
        ("ORU^R01", "OBR||1\r", "OBX|1|TX|T||text\r"),
        ("ADT^A40", "", "PID|||1\rMRG|2\r"),
    ],
)
async def test_a_long_message_takes_as_long_as_many_short_ones(type: str, first: str, then: str) -> None:
    """280 KB of merges took 17 s, and whoever holds up the normaliser holds up every sender."""

    async def seconds(times: int) -> float:
        found = []
        for _ in range(5):  # the quickest: others share the machine
            begun = time.process_time()
            assert await run(MSH.format(type) + first * times + then * times)
            found.append(time.process_time() - begun)
        return min(found)

    # 8 times as much takes about 8 times as long; in proportion to the square it would be 64 times
    assert await seconds(8000) < 32 * await seconds(1000)


async def test_time_is_that_of_receipt() -> None:
    [record] = await run(ORDER, (("ce_time", b"2026-03-04T05:06:07Z"),))
    assert json.loads(record.value)["time"] == "2026-03-04T05:06:07Z"


@pytest.mark.parametrize("told", [b"", b"soon", b"2026-03-04T05:06:07"])
async def test_without_usable_headers_time_is_the_records(told: bytes) -> None:
    [bare] = await run(ORDER)
    [odd] = await run(ORDER, (("ce_time", told),))
    assert bare == odd
    assert json.loads(bare.value)["time"] == "2026-01-01T00:00:00Z"


async def test_a_resend_has_the_same_ids_whatever_record_brings_it() -> None:
    [first] = await run(ORDER)
    [again] = await run(ORDER, (("ce_time", b"2027-01-01T00:00:00Z"),), b"other key")
    assert dict(first.headers)["ce_id"] == dict(again.headers)["ce_id"]
    assert first.key == again.key


async def test_the_same_record_gives_the_same_bytes() -> None:
    assert await run(ORDER) == await run(ORDER)


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("not HL7", MalformedMessage),
        ("", MalformedMessage),
        (MSH.format("ORM^O01") + "ORC|NW\rOBR|1\r", MissingIdentifier),
        (MSH.format("ORM^O01") + "ORC|QQ|PL1\rOBR|1\r", UnsupportedMessage),
        (ORDER + "ORC|NW\rOBR|2\r", MissingIdentifier),
        (ORDER.replace("|2.5.1", "|2.5.1||||||KLINGON"), UnsupportedMessage),
        (ORDER.replace("ORM^O01", "ORM^O\\XFF\\1"), MalformedMessage),
        (ORDER + ORDER.replace("|P|", "|T|"), MalformedMessage),
        (ORDER.replace("ORM^O01", "MFN^M02") + "\n" + ORDER, MalformedMessage),
    ],
)
async def test_what_can_never_be_used(message: str, error: type[Exception]) -> None:
    """One bad group refuses the whole message."""
    with pytest.raises(error):
        await run(message)


@pytest.mark.parametrize("end", ["\r", "\n", "\ufeff", "\r\ufeff"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-32"])
async def test_a_second_message_is_seen_also_behind_a_byte_order_mark(end: str, encoding: str) -> None:
    """The HIS joins files that each begin with one; the second's MSH-11 was never looked at."""
    two = (ORDER.rstrip("\r") + end + ORDER.replace("|P|", "|T|")).encode(encoding)
    with pytest.raises(MalformedMessage, match="two messages in one"):
        await normalise(Record(Place("hl7.v2.raw", 0, 0), None, two, (), TIMESTAMP), site=SITE)


async def test_a_type_with_a_byte_that_did_not_decode_is_named_with_its_offset() -> None:
    data = ORDER.replace("ORM^O01", "ORM^O@1").encode().replace(b"@", b"\xff")
    with pytest.raises(MalformedMessage, match=rf"MSH-9: .* not UNICODE UTF-8, at offset {data.index(0xFF)}$"):
        await normalise(Record(Place("hl7.v2.raw", 0, 0), None, data, (), TIMESTAMP), site=SITE)


async def test_our_own_results_that_come_back_are_nobodys_report() -> None:
    """The AI's words would else be taken for a radiologist's."""
    ours = Path(__file__).parent.parent / "samples" / "oru"
    for path in ours.glob("*.hl7"):
        for message in path.read_bytes().split(b"MSH|")[1:]:
            record = Record(Place("hl7.v2.raw", 1, 42), None, b"MSH|" + message, (), TIMESTAMP)
            assert await normalise(record, site=SITE) == [], path.name
