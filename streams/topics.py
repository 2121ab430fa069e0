"""Every topic: name, partitions, retention; and the one size limit that topic, producer, fetch and runner share."""

from __future__ import annotations

from dataclasses import dataclass

#: Largest record, in bytes. An HL7 message with an encapsulated PDF fits; images never travel on the log.
RECORD_LIMIT = 20 * 1024 * 1024

#: Largest message a listener takes: key and headers of its record have room beside it.
MESSAGE_LIMIT = RECORD_LIMIT - 16 * 1024

#: What a dead letter may be larger than its original: our headers, and the OperationOutcome of a refusal.
DEAD_LETTER_ROOM = 1024 * 1024

#: Largest record of any topic: what producers and fetches must be able to carry.
LARGEST_RECORD = RECORD_LIMIT + DEAD_LETTER_ROOM

#: before the name of a sandbox, and that before the name of a topic
SANDBOX = "sandbox"

_DAY_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True)
class Topic:
    """`retention_ms` -1: for ever. `compacted`: the last record of each key is kept for ever."""

    name: str
    partitions: int = 4
    retention_ms: int = 90 * _DAY_MS
    compacted: bool = False
    record_limit: int = RECORD_LIMIT

    @property
    def config(self) -> dict[str, str]:
        """Kafka topic configuration."""
        return {
            "max.message.bytes": str(self.record_limit),
            "retention.ms": str(self.retention_ms),
            "cleanup.policy": "compact" if self.compacted else "delete",
        }


HL7_RAW = Topic("hl7.v2.raw", retention_ms=-1)
HL7_REJECTED = Topic("hl7.v2.rejected")
#: application answers of enhanced mode: of use while their sender waits
HL7_ACKNOWLEDGEMENTS = Topic("hl7.v2.acknowledgements", retention_ms=7 * _DAY_MS)
ORDERS = Topic("imaging.orders")
REPORTS = Topic("imaging.reports")
PATIENTS = Topic("imaging.patients")
#: what study sources say; what is complete is on imaging.studies
NOTICES = Topic("imaging.notices", retention_ms=7 * _DAY_MS)
STUDIES = Topic("imaging.studies")
REQUESTS = Topic("ai.requests")
REQUESTS_STAT = Topic("ai.requests.stat")
#: priors, migrations, floods: analysed when nothing else waits, told to no receiver
REQUESTS_BULK = Topic("ai.requests.bulk")
RESULTS = Topic("ai.results", retention_ms=-1)
FINDINGS = Topic("ai.findings", retention_ms=-1)
VERDICTS = Topic("ai.verdicts", retention_ms=-1)
#: answers of the AI that came after a radiologist had verified, and what became of them
DISCREPANCIES = Topic("ai.discrepancies", retention_ms=-1)
MODELS = Topic("radstream.models", partitions=1, compacted=True)
DELIVERIES = Topic("radstream.deliveries", retention_ms=-1)
AUDIT = Topic("radstream.audit", partitions=1, retention_ms=-1)
#: what the notary signed
CHECKPOINTS = Topic("radstream.checkpoints", partitions=1, retention_ms=-1)
DEAD_LETTERS = Topic("radstream.dead-letters", retention_ms=-1, record_limit=LARGEST_RECORD)

ALL: tuple[Topic, ...] = (
    HL7_RAW,
    HL7_REJECTED,
    HL7_ACKNOWLEDGEMENTS,
    ORDERS,
    REPORTS,
    PATIENTS,
    NOTICES,
    STUDIES,
    REQUESTS,
    REQUESTS_STAT,
    REQUESTS_BULK,
    RESULTS,
    FINDINGS,
    VERDICTS,
    DISCREPANCIES,
    MODELS,
    DELIVERIES,
    AUDIT,
    CHECKPOINTS,
    DEAD_LETTERS,
)


def plain_name(topic: str) -> str:
    """Of the topic that one of a sandbox stands for; every other name as it is."""
    first, _, rest = topic.partition(".")
    return rest.partition(".")[2] if first == SANDBOX else topic
