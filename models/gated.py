"""Headers lie: a model that sees only what the gate took for a frontal chest radiograph."""

from __future__ import annotations

from collections.abc import Sequence

from models.chest_gate import ChestGate
from models.image_model import Around, ImageModel
from schemas.errors import ModelFailed, RadstreamError, Unsuitable
from schemas.findings import NotAnalysedReason
from schemas.ports import Prediction, Radiograph


class Gated(Around):
    """`ImageModel` behind a gate, image by image. About 5 ms for a film."""

    def __init__(self, model: ImageModel, gate: ChestGate) -> None:
        self._inside = self._model = model
        self._gate = gate

    def predict_all(self, radiographs: Sequence[Radiograph]) -> list[Prediction | RadstreamError]:
        """See `ImageModel.predict_all`. Unsuitable: the pixels are another thing, or nothing can be seen."""
        refused = [refusal(self._gate, radiograph) for radiograph in radiographs]
        passed = [radiograph for radiograph, why in zip(radiographs, refused, strict=True) if why is None]
        answers = iter(self._model.predict_all(passed) if passed else ())
        return [next(answers) if why is None else why for why in refused]

    def close(self) -> None:
        """Of the model."""
        self._model.close()


def refusal(gate: ChestGate, radiograph: Radiograph) -> Unsuitable | ModelFailed | None:
    """None: it may pass. Raises MemoryError."""
    reference = radiograph.sop_instance_uid
    try:
        passed = gate(radiograph.pixels)
    except ValueError as error:
        return Unsuitable("analyse", reference, str(error), NotAnalysedReason.NO_IMAGE)
    except RuntimeError as error:
        if "allocate memory" in str(error):  # DefaultCPUAllocator
            raise MemoryError from error
        return ModelFailed("analyse", reference, f"torch raised {type(error).__name__} in the gate")
    if passed:
        return None
    said = "The pixels show no frontal chest radiograph, whatever the headers say."
    return Unsuitable("analyse", reference, said, NotAnalysedReason.WRONG_BODY_PART)
