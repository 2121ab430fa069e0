"""An `ImageModel` that does what the image's Series Description says, here or in a process of its own; and ways to load it."""

from __future__ import annotations

import os
import signal
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import models
from models.card import Card, read_card
from models.image_model import ImageModel
from schemas.errors import AccessRefused, ModelFailed, RadstreamError, SettingsInvalid, Unsuitable
from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, AnalysedImage, ModelIdentity, NotAnalysedReason
from schemas.identifiers import SOPInstanceUID
from schemas.outputs import Coding, Output
from schemas.ports import Prediction, Radiograph

#: more than glibc keeps by itself
KEPT_BYTES = 128 * 1024**2
CARD = Path(models.__file__).parent / "packages" / "chest-nodule" / "1"


def radiograph(number: int = 0, does: str = "", side: int = 8) -> Radiograph:
    """Its first pixel is the number."""
    pixels = np.full((side, side), number, np.uint16)
    return Radiograph(SOPInstanceUID(f"1.2.{number}"), pixels, "0" * 64, "DX", "CHEST", "PA", series_description=does)


def number_of(answer: Prediction | BaseException) -> int:
    """That of the radiograph it is about, as its pixels told."""
    if isinstance(answer, BaseException):
        raise answer
    return int(said(answer, "number"))


def said(prediction: Prediction, name: str) -> float:
    return next(output.value for output in prediction.image.outputs if output.name == name)


class Obedient:
    """What is asked: nothing (answers), unsuitable, refused, raise, die, exit, crash, hang, die-once FLAG, at-most N (in a pass),
    fill (uses KEPT_BYTES while it works), held OUT IN (writes to the one FIFO who holds it, and waits for the other), deaf OUT IN
    (the same, and ignores TERM)."""

    service = CHEST_RADIOGRAPH_FINDINGS
    threshold = 0.5

    def __init__(self, version: str = "1") -> None:
        self.identity = ModelIdentity(name="obedient", version=version, weights_sha256="0" * 64)
        self.card: Card = read_card(CARD)
        self.closed = False

    def predict_all(self, radiographs: Sequence[Radiograph]) -> list[Prediction | RadstreamError]:
        return [self._predict(one, len(radiographs)) for one in radiographs]

    def close(self) -> None:
        self.closed = True

    def _predict(self, radiograph: Radiograph, together: int) -> Prediction | RadstreamError:
        match (radiograph.series_description or "").split():
            case ["unsuitable"]:
                return Unsuitable("analyse", radiograph.sop_instance_uid, "asked for", NotAnalysedReason.NO_IMAGE)
            case ["refused"]:
                raise AccessRefused("analyse", "server", "its token has expired")
            case ["raise"]:
                raise RuntimeError("a secret of the pixels")
            case ["die"]:
                os.kill(os.getpid(), signal.SIGKILL)
            case ["exit"]:
                os._exit(3)
            case ["crash"]:
                os.kill(os.getpid(), signal.SIGSEGV)
            case ["hang"]:
                while True:
                    signal.pause()
            case ["die-once", flag] if not Path(flag).exists():
                Path(flag).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            case ["at-most", most] if together > int(most):
                raise MemoryError
            case ["fill"]:
                assert len(b"1" * int(KEPT_BYTES)) == KEPT_BYTES
            case ["held" | "deaf" as does, out, back]:
                if does == "deaf":
                    signal.signal(signal.SIGTERM, signal.SIG_IGN)
                Path(out).write_text(str(os.getpid()))
                Path(back).read_text()
        rows, columns = radiograph.pixels.shape
        told = {"number": int(radiograph.pixels[-1, -1]), "together": together, "process": os.getpid()}
        outputs = tuple(
            Output(name=name, coding=Coding(system="urn:test", code=name, display=name), value=value)
            for name, value in told.items()
        )
        image = AnalysedImage(
            sop_instance_uid=radiograph.sop_instance_uid,
            pixel_sha256=radiograph.pixel_sha256,
            rows=rows,
            columns=columns,
            probability=0.5,
            outputs=outputs,
        )
        return Prediction(image, ())


def load() -> ImageModel:
    return Obedient()


def load_nothing() -> ImageModel:
    raise SettingsInvalid("load", "nothing/1", "no card.toml")


def load_damaged() -> ImageModel:
    raise ModelFailed("load", "obedient/1", "does not have the card's SHA-256")


def load_and_exit() -> ImageModel:
    os._exit(7)


def load_and_die_saying_it() -> ImageModel:
    """In the middle of what it says: half a message is in its parent's pipe (multiprocessing's: a length of 4 bytes first)."""
    pipe = sys._getframe(1).f_locals["pipe"]
    os.write(pipe.fileno(), struct.pack("!i", 100) + b"half")
    os._exit(7)


def load_once(flag: Path) -> ImageModel:
    """Damaged from the second time on."""
    if flag.exists():
        return load_damaged()
    flag.touch()
    return Obedient()


def load_another(flag: Path) -> ImageModel:
    """Version 2 from the second time on."""
    if flag.exists():
        return Obedient("2")
    flag.touch()
    return Obedient()


def load_with_torch() -> ImageModel:
    """Its version: torch's threads for one operation, and for several at a time."""
    import torch

    return Obedient(f"{torch.get_num_threads()}-{torch.get_num_interop_threads()}")
