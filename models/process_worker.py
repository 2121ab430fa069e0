"""What runs inside the process that holds a model. Whatever its parent's end, it ends too."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

from models.batching import PassSpoilt
from models.card import Card
from models.image_model import ImageModel
from models.kept_memory import keep_memory
from models.process_memory import Memory, Packed
from schemas.errors import AccessRefused, ModelUnavailable, RadstreamError
from schemas.findings import ModelIdentity
from schemas.ports import Prediction

_PR_SET_PDEATHSIG = 1  # prctl(2)

Load = Callable[[], ImageModel]
Answers = list[Prediction | RadstreamError] | RadstreamError | MemoryError | PassSpoilt


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a loaded model says of itself."""

    card: Card
    identity: ModelIdentity
    service: str
    threshold: float | None


def work(load: Load, pipe: Connection, memory: Memory, parent: int, threads: int | None) -> None:
    """Says Loaded, or what `load` raises; then answers each Packed. Ends when the pipe does."""
    _bind(parent)
    keep_memory()
    if threads is not None:
        import torch  # not above: the parent reads this module too

        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
    try:
        model = load()
    except RadstreamError as error:
        pipe.send(error)
        return
    pipe.send(Loaded(model.card, model.identity, model.service, model.threshold))
    while True:
        try:
            packed = pipe.recv()
        except EOFError:
            break
        pipe.send(_answers(model, memory, packed))
    model.close()


def _bind(parent: int) -> None:
    """TERM ends it, Ctrl-C of the terminal is its parent's, and when that is killed the kernel kills this one too. Its memory holds
    images: no core file."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended between our birth and prctl
        os._exit(1)


def _answers(model: ImageModel, memory: Memory, packed: Packed) -> Answers:
    try:
        return model.predict_all(memory.taken(packed))
    except AccessRefused as error:  # of every image alike: the step waits for a person, and blames no study
        return ModelUnavailable(error.step, error.reference, error.reason)
    except RadstreamError as error:
        return error
    except MemoryError:
        return MemoryError()
    except Exception as error:  # noqa: BLE001 - not worth the process; messages of libraries are not repeated
        return PassSpoilt(f"the model raised {type(error).__name__}")
