"""The error tree: the name of the class says what happens next.

    RadstreamError
      Rejected        dead letter          MalformedMessage, UnsupportedMessage, MissingIdentifier, InvalidResource
      Unavailable     pause, then go on    BrokerUnavailable (TopicMissing), ArchiveUnavailable, FhirServerUnavailable,
                                           StoreUnavailable, ObjectStoreUnavailable, ModelUnavailable, ReceiverUnavailable
      NotYet          park this item       StudyIncomplete, OrderAwaited, Conflict, ItemNotServed
      Refused         a person must act    AccessRefused, ResourceRefused (keeps the OperationOutcome), RecordsRemoved
      Unsuitable      a result, no fault   published as NotAnalysed
      ModelFailed     dead letter + alarm
      SettingsInvalid stop at start, exit 2

`str()` of each is safe to log: it holds the step, a reference (UIDs, accession numbers, topic places) and a reason in our
own words, never the content of a message or an answer.
"""

from __future__ import annotations

from schemas.findings import NotAnalysedReason


class RadstreamError(Exception):
    """`step` is the verb that failed, `reference` what it was working on, `reason` what to know or do."""

    def __init__(self, step: str, reference: str, reason: str) -> None:
        super().__init__(f"{step}: {reference}: {reason}")
        self.step = step
        self.reference = reference
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        """Errors cross process borders (decoders): every attribute is an argument of the constructor, in its order."""
        return type(self), tuple(vars(self).values())


class Rejected(RadstreamError):
    """Never acceptable, however often tried: dead letter."""


class MalformedMessage(Rejected):
    """Bytes that are not what their topic or protocol promises."""


class UnsupportedMessage(Rejected):
    """Well formed, but of a type or version this engine does not take."""


class MissingIdentifier(Rejected):
    """No identifier by which the item could ever be joined or found."""


class InvalidResource(Rejected):
    """An image or resource whose content breaks its standard."""


class Unavailable(RadstreamError):
    """A dependency is down: the step pauses and nothing is lost."""


class BrokerUnavailable(Unavailable):
    """Kafka does not answer."""


class TopicMissing(BrokerUnavailable):
    """Kafka answers, and has no such topic or partition."""


class ArchiveUnavailable(Unavailable):
    """The DICOM archive does not answer, or refuses every question (then a person must act)."""


class FhirServerUnavailable(Unavailable):
    """The FHIR server does not answer, or answers 429 or 5xx (500 to everything)."""


class ReceiverUnavailable(Unavailable):
    """A receiver of findings (HL7, web server) does not answer, or refuses everything."""


class StoreUnavailable(Unavailable):
    """The database does not answer, or stays locked."""


class ObjectStoreUnavailable(Unavailable):
    """The object store does not answer, or cannot write."""


class ModelUnavailable(Unavailable):
    """The inference server, or the process that holds the model, does not answer, or answers as another model."""


class NotYet(RadstreamError):
    """Only this item cannot go on now: parked, tried again later, the next one goes on."""


class StudyIncomplete(NotYet):
    """The archive does not (yet) hold what the request names."""


class OrderAwaited(NotYet):
    """The order for this study has not come."""


class Conflict(NotYet):
    """Somebody else changed the same resource at the same time."""


class ItemNotServed(NotYet):
    """The server is well but fails on this item: parked, tried again, at last a dead letter."""


class Refused(RadstreamError):
    """The other side said no: a person must act. Dead letter, and an alarm."""


class AccessRefused(Refused):
    """401 or 403: credentials or permissions."""


class ResourceRefused(Refused):
    """A 4xx about content. `operation_outcome` is the receiver's answer; it may quote patient data and is never logged."""

    def __init__(self, step: str, reference: str, reason: str, operation_outcome: bytes = b"") -> None:
        super().__init__(step, reference, reason)
        self.operation_outcome = operation_outcome


class RecordsRemoved(Refused):
    """The log does not hold these records any more (retention), and no archive does."""


class Unsuitable(RadstreamError):
    """A result, not a fault: the study is outside the intended use and is published as not analysed."""

    def __init__(self, step: str, reference: str, reason: str, code: NotAnalysedReason) -> None:
        super().__init__(step, reference, reason)
        self.code = code


class ModelFailed(RadstreamError):
    """The model could not be loaded or gave no usable answer: dead letter, and an alarm."""


class SettingsInvalid(RadstreamError):
    """Settings that cannot work: the process stops at start with exit code 2."""
