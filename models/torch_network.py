"""A network that this process computes, with torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from schemas.errors import ModelFailed, SettingsInvalid


def device_named(name: str) -> torch.device:
    """ "auto": CUDA where there is one. Raises SettingsInvalid where CUDA is asked for and there is none."""
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise SettingsInvalid("load", "models.device", "torch finds no CUDA device here: set auto or cpu")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and there) else "cpu")


class TorchNetwork:
    """`schemas.ports.Network` of a module that answers with a dictionary of tensors, or with one: "heatmap". `most`: canvases that
    the module takes in one call, None: any number. A module that is no exported program runs with channels last."""

    def __init__(
        self, module: nn.Module, *, device: torch.device | None = None, most: int | None = None, channels_last: bool = False
    ) -> None:
        self.device = device or torch.device("cpu")
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        self._module: Any = module.to(device=self.device, memory_format=self._layout)  # type: ignore[call-overload]
        self._most = most
        self._bf16 = False

    def hasten(self) -> bool:
        """On CUDA: compiled, and in bfloat16 where torch's autocast does that; answers then differ in the third digit. Whether it
        changed anything."""
        if self.device.type != "cuda":
            return False
        self._bf16, self._module = True, torch.compile(self._module)
        return True

    @torch.inference_mode()
    def __call__(self, canvases: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        """See `Network`."""
        most = self._most or max(len(canvases), 1)
        try:
            parts = [self._answer(canvases[at : at + most]) for at in range(0, len(canvases), most)]
        except torch.OutOfMemoryError as error:
            raise MemoryError from error
        except RuntimeError as error:
            if "allocate memory" in str(error):  # DefaultCPUAllocator
                raise MemoryError from error
            raise ModelFailed("analyse", "network", f"torch raised {type(error).__name__}") from error
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def close(self) -> None:
        """Frees what it holds on its device."""
        self._module = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _answer(self, canvases: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        given = torch.from_numpy(np.ascontiguousarray(canvases)).to(self.device).contiguous(memory_format=self._layout)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16):
            answer: Tensor | Mapping[str, Tensor] = self._module(given)
        tensors = {"heatmap": answer} if isinstance(answer, Tensor) else answer
        if not isinstance(tensors, Mapping) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
            raise ModelFailed("analyse", "network", "answers with something else than tensors")
        return {name: tensor.float().cpu().contiguous().numpy() for name, tensor in tensors.items()}
