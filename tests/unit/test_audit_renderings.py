"""What was done, as FHIR AuditEvent after BALP, as DICOM audit message, and as a line of syslog."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from xml.etree import ElementTree

import pytest
from fhir.resources.R4B.auditevent import AuditEvent

from schemas.hl7v2.site import Site as MessageSite
from schemas.identifiers import PatientIdentifier
from schemas.renderings.audited import Audited, Deed, Receiver, Surroundings
from schemas.renderings.dicom.audit_message import audit_message_of
from schemas.renderings.fhir.audit_event import PATIENT_UPDATE, audit_event_of
from schemas.renderings.syslog import syslog_line
from streams.audit.listing import Wanted, found
from streams.audit.tracing import with_patients
from tests.contract.example_findings import SITE
from tests.unit.audit_schema import faults
from tests.unit.audited_acts import PATIENT, STUDY, Yesterday, one_of_everything

assert PATIENT is not None
AT = datetime(2026, 11, 30, 8, 30, 0, 250_000, tzinfo=UTC)
HERE = Surroundings(
    "HOSPITAL",
    "0.1.0",
    "engine-1",
    {"fhir": Receiver("fhir", "http://127.0.0.1:8090/fhir"), "ward": Receiver("oru", "127.0.0.1:2600")},
)
DELIVERED = Audited(
    id="d-1",
    type="org.radstream.delivery.acknowledged.v1",
    place="radstream.deliveries/2/7",
    at=AT,
    deed=Deed.DELIVERED,
    words="delivered state 16 of the study to fhir",
    study=STUDY,
    destination="fhir",
    acknowledgement="DiagnosticReport/f5b1/_history/2",
    cause="ai.findings/1/3",
    patients=(PATIENT,),
)
LOOKED = Audited(
    id="l-1",
    type="org.radstream.looked.v1",
    place="radstream.audit/0/1",
    at=AT,
    deed=Deed.LOOKED,
    words="saw 1 record (case)",
    by="A. Lin",
    reason="asked to",
    places=("ai.results/0/1",),
    subject="a" * 64,
    patients=(PATIENT, PatientIdentifier(value="2", assigner="OTHER")),
)


@pytest.fixture
async def everything() -> Sequence[Audited]:
    day = Yesterday()
    await one_of_everything(day)
    return await with_patients(day.history, await found(day.history, Wanted()), MessageSite(default_assigner="HOSPITAL"))


# ------------------------------------------------------------------------------------------------------------ FHIR


async def test_each_is_an_audit_event(everything: Sequence[Audited]) -> None:
    assert {one.deed for one in everything} == set(Deed)
    events = [audit_event_of(one, HERE, SITE) for one in everything]
    for event in events:
        AuditEvent.model_validate({name: value for name, value in event.items() if name != "resourceType"})
        assert sum(agent["requestor"] for agent in event["agent"]) == 1, "one has wanted it"
    assert len({event["id"] for event in events}) == len(everything)


def coded(agent: dict[str, Any]) -> str:
    code: str = agent["type"]["coding"][0]["code"]
    return code


def test_a_delivery_to_a_fhir_server_is_what_balp_calls_an_update_of_a_patients_resource() -> None:
    """IHE BALP 1.1, PatientUpdate: each element that it requires."""
    event = audit_event_of(DELIVERED, HERE, SITE)
    assert event["meta"] == {"profile": [PATIENT_UPDATE]}
    assert (event["type"]["code"], event["action"], event["outcome"]) == ("rest", "U", "0")
    assert event["subtype"] == [{"system": "http://hl7.org/fhir/restful-interaction", "code": "update", "display": "update"}]
    agents = {coded(agent): agent for agent in event["agent"]}
    assert agents.keys() == {"110153", "110152"}, "client and server"
    assert all(agent["who"] and agent["network"]["address"] and "media" not in agent for agent in agents.values())
    assert agents["110152"]["network"] == {"address": "http://127.0.0.1:8090/fhir", "type": "5"}
    of = {kind: [entity for entity in event["entity"] if entity["type"]["code"] == kind] for kind in "124"}
    (patient,), (data,) = of["1"], of["2"]
    assert patient["role"]["code"] == "1"
    assert patient["what"]["type"] == "Patient"
    assert patient["what"]["identifier"]["value"] == PATIENT.value  # type: ignore[union-attr]
    assert data["what"] == {"reference": DELIVERED.acknowledgement, "type": "DiagnosticReport"}
    assert data["role"]["code"] in ("3", "4", "20")
    assert of["4"], "the study and the records are no data in its sense"


@pytest.mark.parametrize(
    "other",
    [
        replace(DELIVERED, patients=()),
        replace(DELIVERED, patients=LOOKED.patients),
        replace(DELIVERED, outcome="failed"),
        replace(DELIVERED, destination="ward"),
        replace(DELIVERED, destination="of another time"),
        replace(DELIVERED, acknowledgement=""),
        LOOKED,
    ],
)
def test_what_balp_does_not_know_names_no_profile(other: Audited) -> None:
    event = audit_event_of(other, HERE, SITE)
    assert "meta" not in event
    assert event["type"]["code"] != "rest"


def test_of_several_machines_nobody_knows_which() -> None:
    event = audit_event_of(DELIVERED, replace(HERE, machine=None), SITE)
    assert "meta" not in event
    assert "network" not in next(agent for agent in event["agent"] if coded(agent) == "110153")


def test_who_looked_receives_what_is_shown() -> None:
    event = audit_event_of(LOOKED, HERE, SITE)
    person, engine = event["agent"]
    assert (coded(person), person["name"], person["purposeOfUse"]) == ("IRCP", "A. Lin", [{"text": "asked to"}])
    assert (coded(engine), engine["requestor"]) == ("110150", False)
    assert (event["type"]["code"], event["action"]) == ("110110", "R")
    assert event["recorded"] == "2026-11-30T08:30:00.250000Z"
    told = [entity["what"]["identifier"]["value"] for entity in event["entity"]]
    assert told == [PATIENT.value, "2", "a" * 64, "radstream.audit/0/1", "ai.results/0/1"]  # type: ignore[union-attr]


def test_a_service_of_its_own_at_a_destination_is_there_too() -> None:
    event = audit_event_of(replace(DELIVERED, destination="fhir#lung-panel"), HERE, SITE)
    assert event["meta"]["profile"] == [PATIENT_UPDATE]


# ----------------------------------------------------------------------------------------------------------- DICOM


async def test_each_is_an_audit_message(everything: Sequence[Audited]) -> None:
    codes: dict[Deed, set[str]] = {}
    for one in everything:
        text = audit_message_of(one, HERE)
        message = ElementTree.fromstring(text)
        assert faults(message) == [], text
        event = message.find("EventIdentification/EventID")
        assert event is not None
        codes.setdefault(one.deed, set()).add(f"{event.get('codeSystemName')} {event.get('csd-code')}")
        requestors = [one.get("UserIsRequestor") for one in message.iter("ActiveParticipant")]
        assert requestors.count("true") == 1
    assert codes == {
        Deed.LOOKED: {"DCM 110110"},
        Deed.AUDIT_EXPORTED: {"DCM 110101"},
        Deed.REPLAY_BEGUN: {"DCM 110100"},
        Deed.SETTINGS_CHANGED: {"DCM 110113"},
        Deed.MODEL_CHANGED: {"DCM 110113"},
        Deed.DELIVERED: {"DCM 110106"},
        Deed.LETTER_RESENT: {"ISO21089 reactivate"},
        Deed.LETTER_DISCARDED: {"ISO21089 deprecate"},
        Deed.REPLAY_REMOVED: {"ISO21089 destroy"},
        Deed.REPLAY_PUBLISHED: {"ISO21089 amend"},
        Deed.DISCREPANCY_ACKNOWLEDGED: {"ISO21089 attest"},
        Deed.NOT_FINISHED: {"ISO21089 transform"},
        Deed.OTHER: {"ISO21089 access"},
    }


def test_the_schema_of_these_tests_finds_faults() -> None:
    message = audit_message_of(LOOKED, HERE)
    assert faults(ElementTree.fromstring(message)) == []
    for old, new in (
        ('EventOutcomeIndicator="0"', 'EventOutcomeIndicator="7"'),
        ('UserIsRequestor="true"', ""),
        ("AuditSourceIdentification", "AuditSource"),
        ("ParticipantObjectName", "Name"),
        ('csd-code="110110"', 'code="110110"'),
        ('EventDateTime="2026-11-30T08:30:00.250000Z"', 'EventDateTime="20261130"'),
    ):
        assert old in message
        assert faults(ElementTree.fromstring(message.replace(old, new))), old


def test_a_look_as_dicom_structures_a_patient_record() -> None:
    """PS3.15 A.5.3.10: the event, the user, and each patient."""
    message = ElementTree.fromstring(audit_message_of(LOOKED, HERE))
    event = message.find("EventIdentification")
    assert event is not None
    assert (event.get("EventActionCode"), event.get("EventOutcomeIndicator")) == ("R", "0")
    person, engine = message.iter("ActiveParticipant")
    assert (person.get("UserID"), person.get("UserIsRequestor")) == ("A. Lin", "true")
    assert (engine.get("UserID"), engine.get("NetworkAccessPointID")) == ("radstream", "engine-1")
    patients = [one for one in message.iter("ParticipantObjectIdentification") if one.get("ParticipantObjectTypeCodeRole") == "1"]
    assert [one.get("ParticipantObjectID") for one in patients] == ["MRN-4711^^^HOSPITAL & Sons", "2^^^OTHER"]
    assert {one.get("ParticipantObjectTypeCode") for one in patients} == {"1"}
    kind = patients[0].find("ParticipantObjectIDTypeCode")
    assert kind is not None
    assert (kind.get("csd-code"), kind.get("codeSystemName")) == ("2", "RFC-3881")


def test_an_export_of_the_audit_names_the_log_that_was_used() -> None:
    """PS3.15 A.5.3.2."""
    message = ElementTree.fromstring(audit_message_of(replace(LOOKED, deed=Deed.AUDIT_EXPORTED), HERE))
    (log,) = (one for one in message.iter("ParticipantObjectIdentification") if one.get("ParticipantObjectTypeCodeRole") == "13")
    assert log.get("ParticipantObjectTypeCode") == "2"
    assert log.findtext("ParticipantObjectName") == "Security Audit Log"


@pytest.mark.parametrize(("outcome", "code"), [("begun", "110100"), ("done", "destroy"), ("failed", "destroy")])
def test_nothing_is_told_as_destroyed_before_it_is(outcome: Any, code: str) -> None:
    """Should the broker go away meanwhile, no other event follows."""
    removed = replace(LOOKED, deed=Deed.REPLAY_REMOVED, outcome=outcome, patients=(), subject=None, places=())
    assert audit_event_of(removed, HERE, SITE)["type"]["code"] == code
    assert f'csd-code="{code}"' in audit_message_of(removed, HERE)


def test_a_study_is_named_by_its_uid() -> None:
    message = ElementTree.fromstring(audit_message_of(DELIVERED, HERE))
    (study,) = message.iter("StudyIDs")
    assert study.get("UID") == STUDY
    *_, receiver = message.iter("ActiveParticipant")
    assert (receiver.get("UserID"), receiver.get("NetworkAccessPointTypeCode")) == ("fhir", "5")


# ---------------------------------------------------------------------------------------------------------- syslog

#: RFC 5424, section 6
_LINE = re.compile(
    r"<(?P<pri>\d{1,3})>1 (?P<at>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) (?P<host>[\x21-\x7e]{1,255}) (?P<app>[\x21-\x7e]{1,48}) "
    r"(?P<process>[\x21-\x7e]{1,128}) (?P<id>[\x21-\x7e]{1,32}) (?P<data>\[.*?(?<!\\)\]) (?P<message>\ufeff.*)\Z"
)


def test_a_line_of_syslog() -> None:
    found = _LINE.match(syslog_line("<x/>", at=AT, failed=False, machine="engine-1", version="0.1.0"))
    assert found is not None
    assert found.groupdict() == {
        "pri": "85",  # facility 10, severity 5
        "at": "2026-11-30T08:30:00.250000Z",
        "host": "engine-1",
        "app": "radstream",
        "process": "-",
        "id": "DICOM+RFC3881",
        "data": '[origin software="radstream" swVersion="0.1.0"]',
        "message": "\ufeff<x/>",
    }


def test_what_syslog_cannot_say_is_not_said() -> None:
    taipei = AT.astimezone(timezone(timedelta(hours=8)))
    found = _LINE.match(syslog_line("<x/>", at=taipei, failed=True, machine="ho st\n", version='1"]\\'))
    assert found is not None
    assert (found["pri"], found["host"], found["at"][11:13]) == ("84", "ho-st-", "08")
    assert found["data"] == '[origin software="radstream" swVersion="1\\"\\]\\\\"]'
    nobody = _LINE.match(syslog_line("<x/>", at=AT, failed=False, machine=None, version="1"))
    assert nobody is not None
    assert nobody["host"] == "-"
