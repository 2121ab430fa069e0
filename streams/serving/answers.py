"""What a model said of one radiograph as tensors, and as one JSON document that loses nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from connectors.inference_served import TensorMetadata
from connectors.inference_tensors import Tensor, as_bytes
from schemas.errors import SettingsInvalid
from schemas.findings import AnalysedImage, Finding, ModelIdentity, NotAnalysed
from schemas.ports import FindingModel, Prediction

#: empty, but for the threshold, when the image is not suitable; `probability` and `threshold` also of a model that gives none
_OUTPUTS = (
    TensorMetadata("suitable", ("BOOL",), (1,)),
    TensorMetadata("reason", ("BYTES",), (1,)),
    TensorMetadata("probability", ("FP64",), (-1,)),
    TensorMetadata("threshold", ("FP64",), (-1,)),
    #: left, top, width, height in pixels of the image, from its upper left corner
    TensorMetadata("boxes", ("FP64",), (-1, 4)),
    TensorMetadata("box_probabilities", ("FP64",), (-1,)),
    TensorMetadata("box_kinds", ("BYTES",), (-1,)),
    #: a ServedFindings as JSON
    TensorMetadata("findings", ("BYTES",), (1,)),
)


class ServedFindings(BaseModel):
    """What one model said of one image: a Prediction, and by whom; or why it was not looked at."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    model: ModelIdentity
    service: str
    threshold: float | None = None
    image: AnalysedImage | None = None
    findings: tuple[Finding, ...] = ()
    not_analysed: NotAnalysed | None = None


def outputs_of(names: Sequence[str]) -> tuple[TensorMetadata, ...]:
    """`names`: of the outputs of the model's card. Raises SettingsInvalid."""
    if taken := {one.name for one in _OUTPUTS}.intersection(names):
        raise SettingsInvalid("serve", "card", f"an output cannot be called {', '.join(sorted(taken))} here")
    return (*_OUTPUTS, *(TensorMetadata(name, ("FP64",), (-1,)) for name in names))


def tensors_of(model: FindingModel, said: Prediction | NotAnalysed, names: Sequence[str]) -> list[Tensor]:
    """In the order of `outputs_of`."""
    suitable = isinstance(said, Prediction)
    image, findings = (said.image, said.findings) if isinstance(said, Prediction) else (None, ())
    why = said if isinstance(said, NotAnalysed) else None
    document = ServedFindings(
        model=model.identity, service=model.service, threshold=model.threshold, image=image, findings=findings, not_analysed=why
    )
    values = {output.name: output.value for output in image.outputs} if image else {}
    regions = [(one.region.left, one.region.top, one.region.width, one.region.height) for one in findings]
    return [
        Tensor("suitable", np.array([suitable])),
        as_bytes("reason", (why.explanation if why else "").encode("utf-8")),
        _numbers("probability", image.probability if image else None),
        _numbers("threshold", model.threshold),
        Tensor("boxes", np.array(regions, np.float64).reshape(-1, 4)),
        _numbers("box_probabilities", *(one.probability for one in findings)),
        as_bytes("box_kinds", *(one.kind.value.encode("ascii") for one in findings)),
        as_bytes("findings", document.model_dump_json().encode("utf-8")),
        *(_numbers(name, values.get(name)) for name in names),
    ]


def _numbers(name: str, *values: float | None) -> Tensor:
    return Tensor(name, np.array([value for value in values if value is not None], np.float64))
