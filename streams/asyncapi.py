"""The topics as an AsyncAPI 3.0 document, and the JSON Schemas of their values: `python -m streams.asyncapi` writes both to
schemas/json. Needs PyYAML, which the engine does not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from schemas.acts import ACTS
from schemas.checkpoints import CheckpointSigned
from schemas.discrepancies import DISCREPANCY_EVENTS, DiscrepancyAcknowledged
from schemas.events import (
    ACKNOWLEDGEMENT_TYPE,
    BUNDLE_TYPE,
    FINDINGS_TYPE,
    ORDER_EVENTS,
    PATIENT_EVENTS,
    RAW_MESSAGE_TYPE,
    REPORT_EVENTS,
    DeliveryAcknowledged,
    MessageRejected,
)
from schemas.export import SHAPES, json_schema
from schemas.model_events import MODEL_EVENTS, ModelTaken
from schemas.notices import StudyNoticed
from schemas.study_events import AnalysisRequested, StudyCompleted
from streams import topics
from streams.dead_letter import DEAD_LETTER_TYPE
from streams.emission import FHIR_JSON, HL7_ER7, JSON, SOURCE
from streams.topics import Topic

FOLDER = Path(__file__).resolve().parents[1] / "schemas" / "json"
DOCUMENT = "asyncapi.yaml"
#: Kafka bindings of AsyncAPI
_BINDING = "0.5.0"


@dataclass(frozen=True, slots=True)
class _Channel:
    """What stands on a topic: the CloudEvents types of its values, what the key is, and what to know."""

    about: str
    key: str
    types: tuple[str, ...] = ()


_STUDY = "Study Instance UID (0020,000D)"
_NUMBER = "VALUE^ASSIGNER of the accession number, else of the placer, else of the filler order number"
_REQUESTS = _Channel("Order and study joined: analyse these images. Answered on ai.results.", _STUDY, (AnalysisRequested.TYPE,))
_ABOUT_MODELS = tuple(type for type in MODEL_EVENTS if type != ModelTaken.TYPE)  # acts of people

CHANNELS: Mapping[Topic, _Channel] = {
    topics.HL7_RAW: _Channel(
        "HL7 v2 messages, the bytes as received. Whoever may write here need not speak MLLP.",
        "the sender, MSH-3|MSH-4: its messages keep their order",
        (RAW_MESSAGE_TYPE,),
    ),
    topics.HL7_REJECTED: _Channel(
        "What the sender of a message that was written to hl7.v2.raw would have been told over MLLP.",
        "as of the message",
        (MessageRejected.TYPE,),
    ),
    topics.HL7_ACKNOWLEDGEMENTS: _Channel(
        "Application acknowledgements (MSH-16) on their way to their senders.", "as of the message", (ACKNOWLEDGEMENT_TYPE,)
    ),
    topics.ORDERS: _Channel("Orders.", _NUMBER, tuple(ORDER_EVENTS)),
    topics.REPORTS: _Channel("Radiologists' reports.", _NUMBER, tuple(REPORT_EVENTS)),
    topics.PATIENTS: _Channel("Updates, merges and unlinks.", "VALUE^ASSIGNER of the patient identifier", tuple(PATIENT_EVENTS)),
    topics.NOTICES: _Channel(
        "That something happened to a study, before it is known to be complete.",
        "Study Instance UID, else VALUE^ASSIGNER of the accession number",
        (StudyNoticed.TYPE,),
    ),
    topics.STUDIES: _Channel("Studies that are complete in the archive, or gone from it.", _STUDY, (StudyCompleted.TYPE,)),
    topics.REQUESTS: _REQUESTS,
    topics.REQUESTS_STAT: _REQUESTS,
    topics.REQUESTS_BULK: _REQUESTS,
    topics.RESULTS: _Channel(
        "What the AI says of a study, or why it says nothing. Of each study and service the record with the highest "
        "subject.sequence holds, and replaces all others; one with not_analysed withdraws them.",
        _STUDY,
        (FINDINGS_TYPE,),
    ),
    topics.FINDINGS: _Channel(
        "The same as a FHIR R4 Bundle of type collection: DiagnosticReport, Observations, Device, Provenance.",
        _STUDY,
        (BUNDLE_TYPE,),
    ),
    topics.VERDICTS: _Channel("What radiologists say of findings. Reserved: nothing is written yet.", _STUDY),
    topics.DISCREPANCIES: _Channel(
        "Positive answers that came after a radiologist had verified, until a person acknowledges them.",
        _STUDY,
        tuple(DISCREPANCY_EVENTS),
    ),
    topics.MODELS: _Channel(
        "Which model speaks for which service, which runs in a shadow, which was recalled; what each worker uses. An empty value: "
        "the worker has ended.",
        "the model's name; sandbox.NAME; recalled.NAME.VERSION; worker.WORKER.SERVICE",
        tuple(MODEL_EVENTS),
    ),
    topics.DELIVERIES: _Channel(
        "What each destination holds of a study, and what it answered.",
        "DESTINATION|Study Instance UID",
        (DeliveryAcknowledged.TYPE,),
    ),
    topics.AUDIT: _Channel(
        "Acts of people.",
        "as on radstream.models; discrepancy.ID; what the act is about",
        (*_ABOUT_MODELS, DiscrepancyAcknowledged.TYPE, *ACTS),
    ),
    topics.CHECKPOINTS: _Channel(
        "What the notary signed: how far the topics that may not be changed reach, and the end of the chain of their hashes.",
        "TOPIC/PARTITION",
        (CheckpointSigned.TYPE,),
    ),
    topics.DEAD_LETTERS: _Channel(
        "Records that no step could finish: their own bytes and headers, and ours behind them.",
        "as of the record",
        (DEAD_LETTER_TYPE,),
    ),
}

#: types whose value is no JSON of ours: content type, and what it is
_FOREIGN = {
    RAW_MESSAGE_TYPE: (HL7_ER7, {"type": "string", "format": "binary", "description": "One HL7 v2 message, ER7."}),
    ACKNOWLEDGEMENT_TYPE: (HL7_ER7, {"type": "string", "format": "binary", "description": "One HL7 v2 ACK, ER7."}),
    BUNDLE_TYPE: (
        FHIR_JSON,
        {
            "type": "object",
            "description": "A FHIR R4 Bundle; its schema is HL7's (hl7.org/fhir/R4/bundle.html).",
            "required": ["resourceType", "type", "entry"],
            "properties": {"resourceType": {"const": "Bundle"}, "type": {"const": "collection"}, "entry": {"type": "array"}},
        },
    ),
    DEAD_LETTER_TYPE: (
        "application/octet-stream",
        {"type": "string", "format": "binary", "description": "The value of the record, whatever it is."},
    ),
}


def documents() -> dict[str, str]:
    """All files of schemas/json: their names and texts, always the same."""
    schemas = {f"{type}.json": json.dumps(json_schema(type), indent=2, ensure_ascii=False) + "\n" for type in sorted(SHAPES)}
    text = yaml.safe_dump(asyncapi(), sort_keys=False, allow_unicode=True, width=120)
    return {DOCUMENT: "# written by `python -m streams.asyncapi`\n" + text, **schemas}


def asyncapi() -> dict[str, Any]:
    """AsyncAPI 3.0.0. What radstream sends, everybody may receive."""
    used = [type for channel in CHANNELS.values() for type in channel.types]
    operations = {f"send.{topic.name}": _operation("send", topic) for topic in topics.ALL if CHANNELS[topic].types}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "radstream",
            "version": "1",
            "description": "The topics of radstream on Kafka. A record may stand there twice: the same ce_id, the same event.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": JSON,
        "servers": {"kafka": {"host": "127.0.0.1:9092", "protocol": "kafka", "description": "kafka.bootstrap of the settings"}},
        "channels": {topic.name: _channel(topic, CHANNELS[topic]) for topic in topics.ALL},
        "operations": {f"receive.{topics.HL7_RAW.name}": _operation("receive", topics.HL7_RAW)} | operations,
        "components": {
            "messages": {type: _message(type) for type in dict.fromkeys(used)},
            "schemas": {"headers": _headers(), "dead-letter-headers": _dead_letter_headers()},
        },
    }


def _channel(topic: Topic, channel: _Channel) -> dict[str, Any]:
    config = {
        "cleanup.policy": ["compact" if topic.compacted else "delete"],
        "retention.ms": topic.retention_ms,
        "max.message.bytes": topic.record_limit,
    }
    return {
        "address": topic.name,
        "description": f"{channel.about} Key: {channel.key}.",
        "messages": {type: {"$ref": f"#/components/messages/{type}"} for type in channel.types},
        "bindings": {"kafka": {"partitions": topic.partitions, "topicConfiguration": config, "bindingVersion": _BINDING}},
    }


def _operation(action: str, topic: Topic) -> dict[str, Any]:
    return {"action": action, "channel": {"$ref": f"#/channels/{topic.name}"}}


def _message(type: str) -> dict[str, Any]:
    headers = "dead-letter-headers" if type == DEAD_LETTER_TYPE else "headers"
    content_type, payload = _FOREIGN.get(type) or (JSON, {"$ref": f"./{type}.json"})
    return {
        "name": type,
        "contentType": content_type,
        "headers": {"$ref": f"#/components/schemas/{headers}"},
        "payload": payload,
        "bindings": {"kafka": {"key": {"type": "string", "description": "see the channel"}, "bindingVersion": _BINDING}},
    }


def _headers() -> dict[str, Any]:
    """As streams.emission writes them: UTF-8 texts."""
    return {
        "type": "object",
        "description": "CloudEvents 1.0, binary mode of the Kafka protocol binding; W3C Trace Context; and the cause. UTF-8. A "
        "message on hl7.v2.raw has them only when a listener of radstream wrote it.",
        "required": ["ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time", "content-type", "traceparent"],
        "properties": {
            "ce_specversion": {"const": "1.0"},
            "ce_id": {"type": "string", "description": "The same for the same event, however often it is written."},
            "ce_type": {"type": "string", "description": "The name of the message; ends with the version of the shape."},
            "ce_source": {"type": "string", "description": f"{SOURCE}, or who wrote it."},
            "ce_time": {"type": "string", "format": "date-time", "description": "Of the record that started it, not of writing."},
            "content-type": {"type": "string"},
            "traceparent": {"type": "string", "pattern": "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"},
            "cause": {"type": "string", "description": "TOPIC/PARTITION/OFFSET of the record it came from, where there is one."},
            "resent-from": {"type": "string", "description": "TOPIC/PARTITION/OFFSET of the dead letter that was sent again."},
        },
    }


def _dead_letter_headers() -> dict[str, Any]:
    """As streams.dead_letter writes them, behind those of the record."""
    text = {"type": "string"}
    number = {"type": "string", "pattern": "^[0-9]+$"}
    ours = {"topic": text, "partition": number, "offset": number, "step": text, "error": text, "reason": text, "attempts": number}
    outcome = {"operation-outcome": {"type": "string", "description": "What the receiver answered; may quote patient data."}}
    return {
        "allOf": [
            {"$ref": "#/components/schemas/headers"},
            {"type": "object", "required": list(ours), "properties": ours | outcome},
        ]
    }


def main() -> None:
    """Writes schemas/json anew."""
    FOLDER.mkdir(exist_ok=True)
    written = documents()
    for old in FOLDER.iterdir():
        if old.name not in written:
            old.unlink()
    for name, text in written.items():
        (FOLDER / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
