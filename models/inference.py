"""A network with its card: what is asked of it, and what it said of each image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.card import Card, Heatmap, Input
from models.postprocessing import Box, OperatingPoint, boxes, score
from models.preprocessing import Placement, to_canvas
from models.readings import Tensors, check_shapes, film_logit, outputs
from schemas.errors import ModelFailed, RadstreamError, Unsuitable
from schemas.findings import AnalysedImage, Finding, FindingKind, Measurement, ModelIdentity, NotAnalysedReason, Region
from schemas.ports import Network, Prediction, Radiograph

_STEP = "analyse"
#: long side of a film in mm: outside, the header's pixel spacing is not believed
PLAUSIBLE_FILM_MM = (150.0, 600.0)
#: header values that may be repeated in a log; a header can hold anything, a name included
SAYABLE = frozenset(
    {"CR", "CT", "DX", "MG", "MR", "NM", "OT", "PT", "PX", "RF", "US", "XA"}
    | {"ABDOMEN", "ANKLE", "CSPINE", "ELBOW", "EXTREMITY", "FOOT", "HAND", "HEAD", "HIP", "KNEE", "LEG", "LSPINE", "PELVIS"}
    | {"SHOULDER", "SKULL", "SPINE", "TSPINE", "WRIST"}
    | {"AP", "PA", "LL", "RL", "LLD", "RLD", "LLO", "RLO", "LATERAL", "OBLIQUE"}
)


class _Ready(NamedTuple):
    """An image on the network's canvas, and its place among those asked about."""

    at: int
    radiograph: Radiograph
    canvas: Tensor
    placement: Placement


class PackageModel:
    """`ImageModel` of a package. One forward pass for all that are suitable.

    A processor may add in another order when there are more images: a probability differs by less than 0.0001 between an image
    alone and the same image among seven others."""

    def __init__(self, card: Card, identity: ModelIdentity, network: Network) -> None:
        self.card = card
        self.identity = identity
        self.network = network

    @property
    def service(self) -> str:
        return self.card.service

    @property
    def threshold(self) -> float | None:
        return self.card.heatmap.threshold if self.card.heatmap else None

    def predict_all(self, radiographs: Sequence[Radiograph]) -> list[Prediction | RadstreamError]:
        """See `ImageModel.predict_all`. Raises what a network on a server may raise of all (AccessRefused)."""
        prepared = [self._prepared(at, radiograph) for at, radiograph in enumerate(radiographs)]
        answers: dict[int, Prediction | RadstreamError] = {
            at: one for at, one in enumerate(prepared) if isinstance(one, RadstreamError)
        }
        answers |= self._passed([one for one in prepared if isinstance(one, _Ready)])
        return [answers[at] for at in range(len(radiographs))]

    def close(self) -> None:
        self.network.close()

    def _prepared(self, at: int, radiograph: Radiograph) -> _Ready | RadstreamError:
        reference = radiograph.sop_instance_uid
        try:
            check_suitable(self.card, radiograph)
            return _Ready(at, radiograph, *canvas_of(self.card.input, radiograph.pixels))
        except Unsuitable as error:
            return error
        except ValueError as error:
            return Unsuitable(_STEP, reference, str(error), NotAnalysedReason.NO_IMAGE)
        except RuntimeError as error:
            return ModelFailed(_STEP, reference, f"torch raised {type(error).__name__} before the network was asked")

    def _passed(self, ready: Sequence[_Ready]) -> dict[int, Prediction | RadstreamError]:
        if not ready:
            return {}
        try:
            tensors = self.network(torch.cat([one.canvas for one in ready]).numpy())
            check_shapes(self.card, tensors, len(ready))
        except ModelFailed as error:
            if len(ready) > 1:  # the cause may be one of them
                return {at: answer for one in ready for at, answer in self._passed([one]).items()}
            return {ready[0].at: ModelFailed(_STEP, ready[0].radiograph.sop_instance_uid, error.reason)}
        return {one.at: self._said(one, tensors, image) for image, one in enumerate(ready)}

    def _said(self, ready: _Ready, tensors: Tensors, image: int) -> Prediction | RadstreamError:
        radiograph, placement, heatmap = ready.radiograph, ready.placement, self.card.heatmap
        if not all(np.isfinite(tensors[name][image]).all() for name in self.card.tensors):
            return ModelFailed(_STEP, radiograph.sop_instance_uid, "the network's answer is not a number")
        probability, found = None, []
        if heatmap is not None:
            logits = torch.from_numpy(tensors[heatmap.tensor][image, 0])
            point = OperatingPoint.of(heatmap, film_logit(self.card, tensors, image))
            probability, found = score(logits, placement, point), boxes(logits, placement, point)
        analysed = AnalysedImage(
            sop_instance_uid=radiograph.sop_instance_uid,
            pixel_sha256=radiograph.pixel_sha256,
            rows=placement.rows,
            columns=placement.columns,
            probability=probability,
            outputs=outputs(self.card, tensors, image),
        )
        return Prediction(
            analysed, tuple(_finding(self.card, heatmap, n, box, radiograph) for n, box in enumerate(found, 1) if heatmap)
        )


def canvas_of(given: Input, pixels: NDArray[np.float32] | NDArray[np.uint16]) -> tuple[Tensor, Placement]:
    """2-D pixels, bright = dense -> (1, channels, canvas, canvas) and where the image lies on it. ValueError: no contrast."""
    # before it is shrunk: rounding gives a single grey some contrast
    if not pixels.max() > pixels.min():
        raise ValueError("the image holds no contrast")
    return to_canvas(np.asarray(pixels, dtype=np.float32), given.canvas, given.mean, given.spread)


def check_suitable(card: Card, radiograph: Radiograph) -> None:
    """Raises Unsuitable, naming what the header says; values are compared without case and blanks."""
    use = card.intended_use
    # modality is type 1 in every image (PS3.3 C.7.3.1.1.1): it always has to be said
    for attribute, value, allowed, required, code in (
        ("Modality", radiograph.modality, use.modalities, True, NotAnalysedReason.WRONG_MODALITY),
        (
            "Body Part Examined",
            radiograph.body_part_examined,
            use.body_parts,
            use.body_part_required,
            NotAnalysedReason.WRONG_BODY_PART,
        ),
        ("View Position", radiograph.view_position, use.views, use.view_required, NotAnalysedReason.WRONG_VIEW),
    ):
        said = (value or "").strip().upper()
        if said in allowed or not (said or required):
            continue
        words = (said if said in SAYABLE else "another") if said else "not given"
        reason = f"{attribute} is {words}; the model reads {', '.join(sorted(allowed))}"
        raise Unsuitable(_STEP, radiograph.sop_instance_uid, reason, code)


def _finding(card: Card, heatmap: Heatmap, ordinal: int, box: Box, radiograph: Radiograph) -> Finding:
    spacing = believable_spacing(radiograph)
    long_axis = None
    if spacing:
        longest = max(box.height * spacing[0], box.width * spacing[1])
        plane: Literal["patient", "detector"] = "patient" if radiograph.pixel_spacing_plane == "patient" else "detector"
        long_axis = Measurement(value=round(longest, 1), plane=plane)
    else:  # good enough to tell a mass from a nodule, too rough to be reported as a size
        canvas = card.input.canvas / max(radiograph.pixels.shape)
        longest = max(box.height, box.width) * canvas * card.input.millimetres_per_pixel
    return Finding(
        ordinal=ordinal,
        kind=_kind(heatmap, longest),
        probability=box.probability,
        region=Region(sop_instance_uid=radiograph.sop_instance_uid, left=box.left, top=box.top, width=box.width, height=box.height),
        long_axis=long_axis,
    )


def _kind(heatmap: Heatmap, longest_mm: float) -> FindingKind:
    """By size, where the card names both; a model of one kind finds that."""
    by_size = FindingKind.MASS if longest_mm > heatmap.mass_above_mm else FindingKind.NODULE
    return by_size if by_size in heatmap.kinds else next(iter(heatmap.kinds))


def believable_spacing(radiograph: Radiograph) -> tuple[float, float] | None:
    """(row, column) mm, when the header gives one that makes a film of plausible size (RG1_UNCR says 0, 0)."""
    spacing = radiograph.pixel_spacing_mm
    if spacing is None or not all(math.isfinite(s) and s > 0 for s in spacing):
        return None
    rows, columns = radiograph.pixels.shape
    low, high = PLAUSIBLE_FILM_MM
    return spacing if low <= max(rows * spacing[0], columns * spacing[1]) <= high else None
