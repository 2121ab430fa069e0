"""schemas/json, what subscribers build upon: as the code is, true for every value, and complete."""

from __future__ import annotations

import importlib
import json
import pkgutil
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import pytest
import yaml
from jsonschema import Draft7Validator, ValidationError

import schemas
from schemas.acts import DeadLetterDiscarded, DeadLetterResent, Looked, ReplayBegun, ReplayPublished, ReplayRemoved, SettingsChanged
from schemas.checkpoints import CheckpointSigned
from schemas.discrepancies import (
    DiscrepancyAcknowledged,
    DiscrepancyEscalated,
    DiscrepancyOpened,
    DiscrepancyWithdrawn,
)
from schemas.events import (
    Attachment,
    DeliveryAcknowledged,
    ErrorCondition,
    Event,
    MessageRejected,
    OrderCancelled,
    OrderChanged,
    OrderPlaced,
    PatientMerged,
    PatientUnlinked,
    PatientUpdated,
    Priority,
    ReportAmended,
    ReportDrafted,
    ReportSigned,
    Sender,
)
from schemas.export import SHAPES
from schemas.findings import Findings
from schemas.identifiers import SeriesInstanceUID
from schemas.model_events import ModelPromoted, ModelRecalled, ModelShadowed, ModelTaken
from schemas.notices import StudyNoticed
from schemas.ports import Place, Record
from schemas.renderings.fhir.bundle import bundle_of
from schemas.study_events import AnalysisRequested, ImageReference, StudyCompleted
from streams import topics
from streams.asyncapi import DOCUMENT, FOLDER, documents
from streams.dead_letter import dead_letter
from streams.emission import emit
from tests.contract.example_findings import ACCESSION, IMAGE, SITE, STUDY, every_state, order, subject, two_findings

AT = datetime(2026, 11, 24, 8, 30, tzinfo=UTC)
EVENT: dict[str, Any] = {"id": UUID(int=1), "time": AT}
SENDER = Sender(application="RIS", facility="A", message_control_id="1", occurred_at=AT, sequence_number=7)
PATIENT = subject().patient
assert PATIENT is not None
IMAGES = (
    ImageReference(
        series_instance_uid=SeriesInstanceUID("1.2.3"), sop_instance_uid=IMAGE, sop_class_uid="1.2.3", image_type=("DERIVED", "")
    ),
)
NUMBERS: dict[str, Any] = {**dict(order(1)), "sender": SENDER, "patients": (PATIENT,), "service_code": "71020"}
REPORT = NUMBERS | {
    "result_status": "F",
    "text": "無異常",
    "attachments": (Attachment(data_type="ED", subtype="PDF", length=3),),
}
MODEL: dict[str, Any] = {"name": "chest-nodule", "version": "1", "service": "chest-radiograph-findings", "weights_sha256": "a" * 64}
ACT = MODEL | {"approved_by": "Dr. Lin", "reason": "better"}
BY: dict[str, Any] = {"by": "A. Lin", "reason": "asked to"}
DISCREPANCY: dict[str, Any] = {
    "discrepancy_id": UUID(int=2),
    "study_instance_uid": STUDY,
    "service": "chest-radiograph-findings",
    "analysis_id": UUID(int=3),
}

EVENTS: tuple[Event, ...] = (
    MessageRejected(
        **EVENT, message_control_id="", code="AR", conditions=(ErrorCondition(code="100", text="x"),), place="hl7.v2.raw/0/1"
    ),
    OrderPlaced(**EVENT, **NUMBERS, priority=Priority.STAT, replaces=(order(2),)),
    OrderChanged(**EVENT, **NUMBERS),
    OrderCancelled(**EVENT, sender=SENDER, accession_number=ACCESSION),
    ReportDrafted(**EVENT, **REPORT),
    ReportSigned(**EVENT, **REPORT),
    ReportAmended(**EVENT, **REPORT, addendum="more"),
    PatientUpdated(**EVENT, sender=SENDER, patients=(PATIENT,)),
    PatientMerged(**EVENT, sender=SENDER, patients=(PATIENT,), prior=(PATIENT,)),
    PatientUnlinked(**EVENT, sender=SENDER, patients=(PATIENT,), prior=(PATIENT,)),
    StudyNoticed(**EVENT, source="orthanc:changes", study_instance_uid=STUDY, instances=(IMAGE,), instance_count=1),
    StudyCompleted(
        **EVENT,
        study_instance_uid=STUDY,
        patient=PATIENT,
        patient_age_years=71,
        study_date=date(2026, 11, 24),
        images=IMAGES,
        revision="a" * 64,
        source="dicom:qido",
    ),
    AnalysisRequested(**EVENT, subject=subject(4), images=IMAGES, priority=Priority.STAT),
    DiscrepancyOpened(**EVENT, **DISCREPANCY, accession_number=ACCESSION, sequence=5, verified_at=AT, escalate_at=AT),
    DiscrepancyEscalated(**EVENT, **DISCREPANCY),
    DiscrepancyAcknowledged(**EVENT, **DISCREPANCY, acknowledged_by="Dr. Lin", reason="seen"),
    DiscrepancyWithdrawn(**EVENT, **DISCREPANCY),
    ModelPromoted(**EVENT, **ACT, card_sha256="b" * 64),
    ModelShadowed(**EVENT, **ACT, sandbox="next", ended=True),
    ModelRecalled(**EVENT, name="chest-nodule", version="1", approved_by="Dr. Lin", reason="wrong"),
    ModelTaken(**EVENT, **MODEL, worker="here", well=False, reason="card changed"),
    Looked(**EVENT, **BY, what="tail", places=("hl7.v2.raw/0/1",), subject="a" * 64),
    DeadLetterResent(**EVENT, **BY, letter="radstream.dead-letters/0/1", letter_id=UUID(int=5), corrected_sha256="a" * 64),
    DeadLetterDiscarded(**EVENT, **BY, letter="radstream.dead-letters/0/1", letter_id=UUID(int=5)),
    ReplayBegun(**EVENT, **BY, outcome="begun", replay="next", selection="{}", records=7, models=("chest-nodule/1",)),
    ReplayRemoved(**EVENT, **BY, replay="next"),
    ReplayPublished(
        **EVENT,
        **BY,
        replay="next",
        study_instance_uid=STUDY,
        service="chest-radiograph-findings",
        analysis_id=UUID(int=3),
        sequence=7,
        replaced=4,
    ),
    SettingsChanged(**EVENT, **BY, names=("RADSTREAM_FHIR__URL",), digests={"RADSTREAM_FHIR__URL": "a" * 64}, key="b" * 64),
    CheckpointSigned(
        **EVENT,
        topic="hl7.v2.raw",
        partition=0,
        first=0,
        end=7,
        records=7,
        chain="a" * 64,
        number=1,
        previous="0" * 64,
        key="b" * 64,
        signature="c" * 128,
    ),
    DeliveryAcknowledged(
        **EVENT,
        destination="fhir",
        study_instance_uid=STUDY,
        analysis_id=UUID(int=3),
        sequence=4,
        outcome="stored",
        acknowledgement="x",
    ),
)

ASYNCAPI: dict[str, Any] = yaml.safe_load((FOLDER / DOCUMENT).read_text("utf-8"))


def _validator(type: str) -> Draft7Validator:
    schema = json.loads((FOLDER / f"{type}.json").read_text("utf-8"))
    Draft7Validator.check_schema(schema)
    return Draft7Validator(schema, format_checker=Draft7Validator.FORMAT_CHECKER)


def test_what_is_committed_is_what_the_code_says() -> None:
    wanted = documents()
    found = {file.name: file.read_text("utf-8") for file in FOLDER.iterdir()}
    changed = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    assert not changed, f"{changed} in {FOLDER.name}: run `python -m streams.asyncapi`"
    assert documents() == wanted


def test_every_kind_of_event_is_exported() -> None:
    for module in pkgutil.iter_modules(schemas.__path__, "schemas."):
        importlib.import_module(module.name)

    def kinds(of: type[Event]) -> set[str]:
        own = {of.TYPE} if "TYPE" in vars(of) and of.__module__.startswith("schemas.") else set()
        return own.union(*(kinds(one) for one in of.__subclasses__()))

    assert kinds(Event) == {event.TYPE for event in EVENTS} == SHAPES.keys() - {"org.radstream.findings.v1"}


@pytest.mark.parametrize("event", EVENTS, ids=[event.TYPE for event in EVENTS])
def test_an_event_is_as_its_schema_says(event: Event) -> None:
    value = json.loads(event.model_dump_json())
    validator = _validator(event.TYPE)
    validator.validate(value)
    # what a later version of the same shape may bring
    validator.validate(value | {"a_field_of_tomorrow": 1})
    with pytest.raises(ValidationError):
        validator.validate({name: one for name, one in value.items() if name != "time"})
    with pytest.raises(ValidationError):
        validator.validate(value | {"id": 7})


@pytest.mark.parametrize("state", every_state().values(), ids=every_state())
def test_findings_are_as_their_schema_says(state: Findings) -> None:
    _validator("org.radstream.findings.v1").validate(json.loads(state.model_dump_json()))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("findings", 0, "probability"), 1.5),
        (("findings", 0, "kind"), "fracture"),
        (("findings", 0, "region", "width"), 0),
        (("subject", "sequence"), 0),
        (("subject", "study_instance_uid"), None),
        (("service",), "Chest Findings"),
        (("model", "weights_sha256"), "abc"),
    ],
)
def test_what_are_no_findings_is_refused(path: tuple[str | int, ...], value: object) -> None:
    """By the schema alone."""
    said = json.loads(two_findings().model_dump_json())
    node = said
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    with pytest.raises(ValidationError):
        _validator("org.radstream.findings.v1").validate(said)


# -------------------------------------------------------------------------------------------------------- AsyncAPI


def test_it_names_the_topics_and_no_others() -> None:
    assert list(ASYNCAPI["channels"]) == [topic.name for topic in topics.ALL]
    for topic in topics.ALL:
        channel = ASYNCAPI["channels"][topic.name]
        assert channel["address"] == topic.name
        kafka = channel["bindings"]["kafka"]
        assert kafka["partitions"] == topic.partitions
        config = {name: ",".join(one) if isinstance(one, list) else str(one) for name, one in kafka["topicConfiguration"].items()}
        assert config == topic.config
        if topic is not topics.VERDICTS:
            assert channel["messages"]
            assert {"action": "send", "channel": {"$ref": f"#/channels/{topic.name}"}} in ASYNCAPI["operations"].values()


def test_every_reference_leads_somewhere() -> None:
    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [one for value in node.values() for one in references(value)]
        return [one for value in node for one in references(value)] if isinstance(node, list) else []

    found = references(ASYNCAPI)
    for reference in found:
        if reference.startswith("#"):
            node = ASYNCAPI
            for step in reference.removeprefix("#/").split("/"):
                node = node[step]
    files = {reference.removeprefix("./") for reference in found if not reference.startswith("#")}
    assert files == {file.name for file in FOLDER.iterdir()} - {DOCUMENT}


def _headers(name: str) -> Draft7Validator:
    return Draft7Validator({"$ref": f"#/components/schemas/{name}", "components": ASYNCAPI["components"]})


def test_headers_are_as_it_says() -> None:
    cause = Record(Place("imaging.studies", 0, 7), b"k", b"", (), AT)
    for event in EVENTS:
        outgoing = emit(topics.RESULTS, "key", event, cause)
        _headers("headers").validate({name: value.decode() for name, value in outgoing.headers})
    letter = dead_letter(cause, "analyse", ValueError(), 1)
    told = {name: value.decode() for name, value in letter.headers}
    _headers("dead-letter-headers").validate(told)
    with pytest.raises(ValidationError):
        _headers("headers").validate(told | {"traceparent": "00-1"})
    with pytest.raises(ValidationError):
        _headers("dead-letter-headers").validate({name: one for name, one in told.items() if name != "step"})


def test_a_bundle_is_as_it_says() -> None:
    payload = ASYNCAPI["components"]["messages"]["org.radstream.findings.fhir-r4-bundle.v1"]["payload"]
    Draft7Validator(payload).validate(json.loads(bundle_of(two_findings(), SITE)))
