"""What one analysis said. The value of a record on `ai.results`; FHIR, SR, ORU and the page are renderings of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from schemas.identifiers import (
    AccessionNumber,
    FillerOrderNumber,
    PatientIdentifier,
    PlacerOrderNumber,
    SOPInstanceUID,
    StudyInstanceUID,
)
from schemas.outputs import Output

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Presence = Literal["present", "absent", "indeterminate"]

#: Whose report it is, whatever model speaks in it.
ServiceName = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]

#: The service whose report a study always has. A model of another service speaks in a report of its own beside it.
CHEST_RADIOGRAPH_FINDINGS = "chest-radiograph-findings"

#: Said by every page and report that shows a finding (ARCHITECTURE; the model card gives the true figures).
DEMONSTRATION = "Demonstration model, not a medical device; not verified by a radiologist."


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class NotAnalysedReason(StrEnum):
    """Why a study revision has no findings. The words for people are in the renderings."""

    WRONG_MODALITY = "wrong-modality"
    WRONG_BODY_PART = "wrong-body-part"
    WRONG_VIEW = "wrong-view"
    WRONG_IMAGE_TYPE = "wrong-image-type"
    PORTABLE = "portable"
    WRONG_AGE = "wrong-age"
    NO_IMAGE = "no-image"
    NO_ORDER = "no-order"
    ORDER_CANCELLED = "order-cancelled"
    IDENTITY_MISMATCH = "identity-mismatch"
    LATE = "late"
    MODEL_RECALLED = "model-recalled"


#: What was said of the study before does not hold, and must not stand anywhere.
WITHDRAWING = frozenset(
    {
        NotAnalysedReason.IDENTITY_MISMATCH,
        NotAnalysedReason.NO_IMAGE,
        NotAnalysedReason.ORDER_CANCELLED,
        NotAnalysedReason.MODEL_RECALLED,
    }
)


class FindingKind(StrEnum):
    """Kinds a model may report; codes are in renderings/fhir/codes.py. A lung nodule is at most 30 mm, a mass larger
    (Fleischner Society glossary, Radiology 2008;246:697)."""

    NODULE = "nodule"
    MASS = "mass"


class Region(_Frozen):
    """Axis-aligned box in pixels of the stored image: origin at the upper left corner of the upper left pixel."""

    sop_instance_uid: SOPInstanceUID
    frame: Annotated[int, Field(ge=1)] = 1
    left: Annotated[float, Field(ge=0)]
    top: Annotated[float, Field(ge=0)]
    width: Annotated[float, Field(gt=0)]
    height: Annotated[float, Field(gt=0)]


class Measurement(_Frozen):
    """A size with its UCUM unit; `plane` says where it is true ("patient" or, on a projection, "detector")."""

    value: Annotated[float, Field(gt=0)]
    unit: Literal["mm"] = "mm"
    plane: Literal["patient", "detector"]


class Finding(_Frozen):
    """One located finding. `ordinal` (from 1) is its identity within the analysis."""

    ordinal: Annotated[int, Field(ge=1)]
    kind: FindingKind
    probability: Probability
    region: Region
    long_axis: Measurement | None = None


class ModelIdentity(_Frozen):
    """Which AI model spoke; goes into every answer."""

    name: str
    version: str
    weights_sha256: Digest


class AnalysedImage(_Frozen):
    """An image the model saw. The digest is that of the decoded stored pixels, so that a replay can tell
    "other findings" from "other pixels"; `probability` is the model's score for the whole image, None of a model that looks for
    nothing with a place. `outputs`: what else it says of the image."""

    sop_instance_uid: SOPInstanceUID
    pixel_sha256: Digest
    rows: Annotated[int, Field(ge=1)]
    columns: Annotated[int, Field(ge=1)]
    probability: Probability | None = None
    outputs: tuple[Output, ...] = ()


class NotAnalysed(_Frozen):
    """The study revision was looked at by no model; `explanation` in plain words, without patient data."""

    reason: NotAnalysedReason
    explanation: str


class OrderReference(_Frozen):
    """An order joined to the study (n:m). At least one number is known."""

    placer_order_number: PlacerOrderNumber | None = None
    filler_order_number: FillerOrderNumber | None = None
    accession_number: AccessionNumber | None = None

    @model_validator(mode="after")
    def _named(self) -> OrderReference:
        if not (self.placer_order_number or self.filler_order_number or self.accession_number):
            raise ValueError("an order needs a placer order number, a filler order number or an accession number")
        return self


#: form of a LOINC number, with its check digit
LOINC_NUMBER = r"^[0-9]{1,7}-[0-9]$"
Loinc = Annotated[str, Field(pattern=LOINC_NUMBER)]


class Examination(_Frozen):
    """What was ordered, as LOINC names it; `text` in the words of who ordered it."""

    loinc: Loinc
    text: str = ""


class MessageReference(_Frozen):
    """An HL7 v2 message: MSH-3 and MSH-4 of its sender as "application|facility", and MSH-10."""

    sender: str
    message_control_id: Annotated[str, Field(min_length=1)]


class Subject(_Frozen):
    """Everything about a study revision that a rendering needs and no model gives: carried from request to result."""

    study_instance_uid: StudyInstanceUID
    revision: Digest
    #: rises whenever the state that is to be told changes; deliver never replaces a higher by a lower one
    sequence: Annotated[int, Field(ge=1)]
    accession_number: AccessionNumber | None = None
    patient: PatientIdentifier | None = None
    orders: tuple[OrderReference, ...] = ()
    #: the last word of each sender on these orders, when this state was first told
    messages: tuple[MessageReference, ...] = ()
    #: of its orders then, where they name the same one
    examination: Examination | None = None
    #: time of the record that triggered this state, never the wall clock
    triggered_at: AwareDatetime
    #: receivers are told; not of what is analysed for ourselves only (the bulk lane)
    outward: bool = True


class Findings(_Frozen):
    """What one analysis of one study revision said: findings (perhaps none), or why it was not analysed."""

    #: of what one service says: others that answer the same request have ids of their own
    analysis_id: UUID
    subject: Subject
    #: whose report it is: of each service a study has one, whatever model speaks in it
    service: ServiceName = CHEST_RADIOGRAPH_FINDINGS
    model: ModelIdentity | None = None
    images: tuple[AnalysedImage, ...] = ()
    findings: tuple[Finding, ...] = ()
    #: the model's operating point on `AnalysedImage.probability`
    threshold: Probability | None = None
    not_analysed: NotAnalysed | None = None
    #: when a radiologist had verified the report of the study, before this answer came (its OBR-22): "after verification"
    verified_at: AwareDatetime | None = None

    @model_validator(mode="after")
    def _either_or(self) -> Findings:
        if self.not_analysed is not None:
            if self.verified_at is not None:
                raise ValueError("not analysed: nothing to be marked as after verification")
            if self.findings or self.images:
                raise ValueError("not analysed: neither findings nor analysed images")
        elif self.model is None or not self.images:
            raise ValueError("analysed: a model and at least one image are needed")
        elif any((image.probability is None) != (self.threshold is None) for image in self.images):
            raise ValueError("analysed: a threshold where images have a probability, and only there")
        elif any(image.probability is None and not image.outputs for image in self.images):
            raise ValueError("analysed: an image of which nothing is said")
        elif self.findings and not self.locates:
            raise ValueError("analysed: findings of a model that looks for nothing with a place")
        if [f.ordinal for f in self.findings] != list(range(1, len(self.findings) + 1)):
            raise ValueError("findings are numbered from 1 without gaps")
        seen = {image.sop_instance_uid for image in self.images}
        if any(f.region.sop_instance_uid not in seen for f in self.findings):
            raise ValueError("a finding lies on an image that was not analysed")
        return self

    @property
    def present(self) -> bool:
        """Whether anything was found; meaningless when `not_analysed`."""
        return bool(self.findings)

    @property
    def presence(self) -> Presence | None:
        """Of nodules and masses. Indeterminate: the score of the study reaches the model's operating point, but no place does. None
        where nobody looked for them."""
        if self.not_analysed is not None or self.threshold is None:
            return None
        if self.present:
            return "present"
        return "indeterminate" if self.probability is not None and self.probability >= self.threshold else "absent"

    @property
    def locates(self) -> bool:
        """Whether its model looks for findings with a place. If not, it says nothing of nodules, neither yes nor no."""
        return self.threshold is not None

    @property
    def probability(self) -> float | None:
        """The study's score: the highest of its images; None when not analysed, or when the model gives none."""
        return max((image.probability for image in self.images if image.probability is not None), default=None)

    @property
    def outputs(self) -> tuple[Output, ...]:
        """Of the study: of each name the highest value of its images, in the card's order."""
        return tuple(output for output, _ in self.outputs_with_image)

    @property
    def outputs_with_image(self) -> tuple[tuple[Output, SOPInstanceUID], ...]:
        """The same, each with the (first) image that gave it."""
        highest: dict[str, tuple[Output, SOPInstanceUID]] = {}
        for image in self.images:
            for output in image.outputs:
                if output.name not in highest or output.value > highest[output.name][0].value:
                    highest[output.name] = output, image.sop_instance_uid
        return tuple(highest.values())
