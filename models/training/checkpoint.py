"""A training run in one file: killed and started again, it goes on with the same numbers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from schemas.errors import SettingsInvalid


@dataclass(frozen=True)
class Run:
    """What changes from step to step. The batches do not: they are drawn from seed and step (see batches.py)."""

    network: nn.Module
    averaged: AveragedModel
    optimiser: Optimizer

    def save(self, path: Path, step: int, plan: dict[str, Any]) -> None:
        """Whole or not at all: a file beside it, then renamed. step: how many are done."""
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".part")
        kept = {name: part.state_dict() for name, part in vars(self).items()}
        torch.save(kept | {"step": step, "plan": plan}, beside)
        beside.replace(path)

    def resume(self, path: Path, plan: dict[str, Any]) -> int:
        """Steps done; 0 without a checkpoint. Raises SettingsInvalid when it is of another plan."""
        if not path.exists():
            return 0
        # weights_only: tensors and numbers, no code
        kept = torch.load(path, map_location="cpu", weights_only=True)
        if kept["plan"] != plan:
            raise SettingsInvalid("train", path.name, "this checkpoint is of another plan: remove it, or name another --out")
        for name, part in vars(self).items():
            part.load_state_dict(kept[name])
        return int(kept["step"])
