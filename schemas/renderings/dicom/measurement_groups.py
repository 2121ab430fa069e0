"""What was found, as measurement groups of TID 1500: presence in the study and outputs of images (TID 1501), located findings (TID
1410). Tracking UIDs are the UUIDs of the Observations that say the same in FHIR."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import UUID

import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    GraphicTypeValues,
    ImageRegion,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    SourceImageForMeasurementGroup,
    SourceImageForRegion,
    TrackingIdentifier,
)
from numpy.typing import NDArray
from pydicom.sr.coding import Code

from schemas.findings import Finding, Findings, ModelIdentity, Region
from schemas.identifiers import SOPInstanceUID
from schemas.outputs import Output
from schemas.renderings.dicom import codes
from schemas.renderings.fhir.references import observation_id, output_id
from schemas.study_events import ImageReference

Group = MeasurementsAndQualitativeEvaluations | PlanarROIMeasurementsAndQualitativeEvaluations
Held = Callable[[SOPInstanceUID], ImageReference]

#: Storage SOP classes with one frame (CR, DX, mammography, intra-oral, CT, MR, secondary capture): only of others a frame is named,
#: (0008,1160)
_ONE_FRAME = frozenset(
    f"1.2.840.10008.5.1.4.1.1.{root}" for root in ("1", "1.1", "1.1.1", "1.2", "1.2.1", "1.3", "1.3.1", "2", "4", "7")
)


def groups_of(findings: Findings, held: Held) -> list[Group]:
    """Presence first ("nothing found" is an explicit Absent), then findings in the order of their ordinals, then outputs. `held`:
    an analysed image as the archive holds it."""
    if findings.model is None:
        raise ValueError("not analysed: nothing was measured")
    algorithm = _algorithm(findings.model)
    return [
        *_presence(findings, held, algorithm),
        *(_located(findings, finding, held, algorithm) for finding in findings.findings),
        *(_output(findings, output, held(image), algorithm) for output, image in findings.outputs_with_image),
    ]


def _algorithm(model: ModelIdentity) -> AlgorithmIdentification:
    return AlgorithmIdentification(
        name=model.name,
        version=model.version,
        parameters=[f"SHA-256 of the weights: {model.weights_sha256}"],
        family=codes.ARTIFICIAL_INTELLIGENCE,
    )


def _tracking(identifier: str, of: UUID) -> TrackingIdentifier:
    return TrackingIdentifier(identifier=identifier, uid=f"2.25.{of.int}")


def _presence(findings: Findings, held: Held, algorithm: AlgorithmIdentification) -> Iterator[Group]:
    """Of both kinds together; with SNOMED CT's codes also of each kind that was found, and of both where neither was. None of a
    model that does not look for them."""
    presence = findings.presence
    if presence is None:
        return
    answer = codes.ANSWERS[presence]
    found = {finding.kind for finding in findings.findings}
    evaluations = [QualitativeEvaluation(codes.NODULE_OR_MASS, answer)]
    evaluations += [QualitativeEvaluation(code, answer) for kind, code in codes.KINDS.items() if kind in found or not found]
    measurements = []
    if findings.probability is not None and findings.threshold is not None:
        measurements.append(_number(codes.STUDY_SCORE, findings.probability))
        measurements.append(_number(codes.STUDY_THRESHOLD, findings.threshold))
    yield MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking("presence", observation_id(findings.analysis_id, 0)),
        algorithm_id=algorithm,
        measurements=measurements,
        qualitative_evaluations=evaluations,
        source_images=[_source(held(image.sop_instance_uid)) for image in findings.images],
    )


def _located(findings: Findings, finding: Finding, held: Held, algorithm: AlgorithmIdentification) -> Group:
    measurements = [_number(codes.FINDING_SCORE, finding.probability)]
    if finding.long_axis is not None:
        axis = finding.long_axis
        plane = codes.PLANES[axis.plane]
        measurements.append(Measurement(codes.LONG_AXIS, float(axis.value), codes.unit(axis.unit), method=plane))
    return PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(f"finding-{finding.ordinal}", observation_id(findings.analysis_id, finding.ordinal)),
        referenced_region=_region(finding.region, held(finding.region.sop_instance_uid)),
        finding_type=codes.kind(finding.kind),
        algorithm_id=algorithm,
        measurements=measurements,
    )


def _region(region: Region, image: ImageReference) -> ImageRegion:
    one_frame = image.sop_class_uid in _ONE_FRAME and region.frame == 1
    source = SourceImageForRegion(image.sop_class_uid, image.sop_instance_uid, None if one_frame else [region.frame])
    return ImageRegion(GraphicTypeValues.POLYLINE, outline(region), source)


def outline(region: Region) -> NDArray[np.float32]:
    """The box as a closed polyline, (5, 2) of column and row in pixels, clockwise from its upper left corner. The origin is that of
    Region: the upper left corner of the upper left pixel (PS3.3 table C.18.6-1).

    Graphic Data (0070,0022) are float32: a corner is right to half a unit in the last place, 0.00013 pixel up to column or row 4096
    and 0.00025 up to 8192; left and top of a box that came from float32 are exact. A box thinner than that is one unit thin, never
    nothing. Raises ValueError beyond the range of float32."""
    with np.errstate(over="ignore"):
        left, top = np.float32(region.left), np.float32(region.top)
        right = max(np.float32(region.left + region.width), np.nextafter(left, np.float32(np.inf)))
        bottom = max(np.float32(region.top + region.height), np.nextafter(top, np.float32(np.inf)))
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom], [left, top]], dtype=np.float32)
    if not np.isfinite(corners).all():
        raise ValueError("a region that no float32 can say")
    return corners


def _output(findings: Findings, output: Output, image: ImageReference, algorithm: AlgorithmIdentification) -> Group:
    """Present or absent where the card has a threshold; else a value in its unit under its own name."""
    name, unit = codes.concept(output.coding), codes.unit(output.unit)
    if output.threshold is None:
        evaluations, measurements = [], [Measurement(name, float(output.value), unit)]
    else:
        evaluations = [QualitativeEvaluation(name, codes.ANSWERS["present" if output.present else "absent"])]
        measurements = [
            Measurement(codes.OUTPUT_VALUE, float(output.value), unit),
            Measurement(codes.OUTPUT_THRESHOLD, float(output.threshold), unit),
        ]
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(output.name, output_id(findings.analysis_id, output.name)),
        algorithm_id=algorithm,
        measurements=measurements,
        qualitative_evaluations=evaluations,
        source_images=[_source(image)],
    )


def _source(image: ImageReference) -> SourceImageForMeasurementGroup:
    return SourceImageForMeasurementGroup(image.sop_class_uid, image.sop_instance_uid)


def _number(name: Code, value: float) -> Measurement:
    return Measurement(name, float(value), codes.unit("1"))
