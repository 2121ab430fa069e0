"""A loaded model behind the port `FindingModel`."""

import asyncio
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.card import Card
from models.postprocessing import Box, OperatingPoint, boxes, score
from models.preprocessing import Placement, to_canvas
from schemas.errors import ModelFailed, SettingsInvalid, Unsuitable
from schemas.findings import (
    CHEST_RADIOGRAPH_FINDINGS,
    AnalysedImage,
    Finding,
    FindingKind,
    Measurement,
    ModelIdentity,
    NotAnalysedReason,
    Region,
)
from schemas.ports import Prediction, Radiograph

#: long side of a film in mm: outside, the header's pixel spacing is not believed
PLAUSIBLE_FILM_MM = (150.0, 600.0)
#: header values that may be repeated in a log; a header can hold anything, a name included
SAYABLE = frozenset(
    {"CR", "CT", "DX", "MG", "MR", "NM", "OT", "PT", "PX", "RF", "US", "XA"}
    | {"ABDOMEN", "ANKLE", "CSPINE", "ELBOW", "EXTREMITY", "FOOT", "HAND", "HEAD", "HIP", "KNEE", "LEG", "LSPINE", "PELVIS"}
    | {"SHOULDER", "SKULL", "SPINE", "TSPINE", "WRIST"}
    | {"AP", "PA", "LL", "RL", "LLD", "RLD", "LLO", "RLO", "LATERAL", "OBLIQUE"}
)
_BODY_PART = NotAnalysedReason.WRONG_BODY_PART


@torch.inference_mode()
def heatmap(network: nn.Module, pixels: NDArray[np.float32] | NDArray[np.uint16]) -> tuple[Tensor, Placement]:
    """2-D pixels, bright = dense -> (112, 112) logits and where the image lies on the canvas. ValueError: no contrast."""
    canvas, placement = to_canvas(np.asarray(pixels, dtype=np.float32))
    logits: Tensor = network(canvas)
    return logits[0, 0], placement


class NoduleModel:
    """Finds nodules and masses. One image at a time, on one thread of its own, so that the event loop stays free.

    threads: torch's threads, a setting of the whole process.
    """

    def __init__(self, network: nn.Module, card: Card, threads: int = 1) -> None:
        torch.set_num_threads(threads)
        self.card = card
        if card.heatmap is None:
            raise SettingsInvalid("load", f"{card.name}/{card.version}", "it has no heatmap")
        self.heatmap = card.heatmap
        self.point = OperatingPoint(self.heatmap.threshold, self.heatmap.outline, self.heatmap.slope, self.heatmap.offset)
        self.network = network
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"model-{card.name}")

    @property
    def identity(self) -> ModelIdentity:
        return self.card.identity("")

    @property
    def service(self) -> str:
        return CHEST_RADIOGRAPH_FINDINGS

    @property
    def threshold(self) -> float:
        return self.point.threshold

    async def predict(self, radiograph: Radiograph) -> Prediction:
        """Raises Unsuitable (outside the card's intended use, or nothing to see), ModelFailed."""
        self.check_suitable(radiograph)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._predict, radiograph)

    def close(self) -> None:
        self._thread.shutdown()

    def check_suitable(self, radiograph: Radiograph) -> None:
        """Raises Unsuitable, naming what the header says; values are compared without case and blanks."""
        use = self.card.intended_use
        # modality is type 1 in every image (PS3.3 C.7.3.1.1.1): it always has to be said
        for attribute, value, allowed, required, code in (
            ("Modality", radiograph.modality, use.modalities, True, NotAnalysedReason.WRONG_MODALITY),
            ("Body Part Examined", radiograph.body_part_examined, use.body_parts, use.body_part_required, _BODY_PART),
            ("View Position", radiograph.view_position, use.views, use.view_required, NotAnalysedReason.WRONG_VIEW),
        ):
            said = (value or "").strip().upper()
            if said in allowed or not (said or required):
                continue
            words = (said if said in SAYABLE else "another") if said else "not given"
            reason = f"{attribute} is {words}; the model reads {', '.join(sorted(allowed))}"
            raise Unsuitable("analyse", radiograph.sop_instance_uid, reason, code)

    def _predict(self, radiograph: Radiograph) -> Prediction:
        try:
            logits, placement = heatmap(self.network, radiograph.pixels)
        except ValueError as error:
            raise Unsuitable("analyse", radiograph.sop_instance_uid, str(error), NotAnalysedReason.NO_IMAGE) from error
        except (RuntimeError, MemoryError) as error:
            raise ModelFailed("analyse", radiograph.sop_instance_uid, f"torch raised {type(error).__name__}") from error
        if not bool(torch.isfinite(logits).all()):
            raise ModelFailed("analyse", radiograph.sop_instance_uid, "the network's answer is not a number")
        found = boxes(logits, placement, self.point)
        image = AnalysedImage(
            sop_instance_uid=radiograph.sop_instance_uid,
            pixel_sha256=radiograph.pixel_sha256,
            rows=placement.rows,
            columns=placement.columns,
            probability=score(logits, placement, self.point),
        )
        return Prediction(image, tuple(self._finding(n, box, radiograph) for n, box in enumerate(found, 1)))

    def _finding(self, ordinal: int, box: Box, radiograph: Radiograph) -> Finding:
        spacing = believable_spacing(radiograph)
        long_axis = None
        if spacing:
            longest = max(box.height * spacing[0], box.width * spacing[1])
            plane: Literal["patient", "detector"] = "patient" if radiograph.pixel_spacing_plane == "patient" else "detector"
            long_axis = Measurement(value=round(longest, 1), plane=plane)
        else:  # good enough to tell a mass from a nodule, too rough to be reported as a size
            canvas = self.card.input.canvas / max(radiograph.pixels.shape)
            longest = max(box.height, box.width) * canvas * self.card.input.millimetres_per_pixel
        return Finding(
            ordinal=ordinal,
            kind=FindingKind.MASS if longest > self.heatmap.mass_above_mm else FindingKind.NODULE,
            probability=box.probability,
            region=Region(
                sop_instance_uid=radiograph.sop_instance_uid, left=box.left, top=box.top, width=box.width, height=box.height
            ),
            long_axis=long_axis,
        )


def believable_spacing(radiograph: Radiograph) -> tuple[float, float] | None:
    """(row, column) mm, when the header gives one that makes a film of plausible size (RG1_UNCR says 0, 0)."""
    spacing = radiograph.pixel_spacing_mm
    if spacing is None or not all(math.isfinite(s) and s > 0 for s in spacing):
        return None
    rows, columns = radiograph.pixels.shape
    low, high = PLAUSIBLE_FILM_MM
    return spacing if low <= max(rows * spacing[0], columns * spacing[1]) <= high else None
