"""`radstream model verify`: whether a package may speak on this machine, without letting it speak."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from models.card import Card, read_card, read_card_as
from schemas.errors import SettingsInvalid
from schemas.findings import ModelIdentity
from streams.model_store import CARD, REFERENCE, digest_of
from streams.settings import Settings
from streams.wiring.models import package_store_for


@dataclass(frozen=True, slots=True)
class Well:
    """A package whose card, checksum and self-test are right. `card` None: a gate."""

    identity: ModelIdentity
    card: Card | None
    card_sha256: str
    said: str


async def run_verify(settings: Settings, named: str, say: Callable[[str], None]) -> None:
    """`named`: NAME/VERSION, or a folder. Raises SettingsInvalid, ModelFailed, ModelUnavailable, ObjectStoreUnavailable."""
    if (Path(named) / CARD).is_file():
        folder = Path(named)
    elif REFERENCE.fullmatch(named):
        folder = await package_store_for(settings).folder(named)
    else:
        raise SettingsInvalid("verify", named, f"is neither NAME/VERSION nor a folder with {CARD}")
    found = await asyncio.to_thread(verified, folder, settings)
    identity = found.identity
    what = "a gate" if found.card is None else f"speaks for {found.card.service}"
    say(f"{identity.name}/{identity.version} is well: {what}; {found.said}; SHA-256 {identity.weights_sha256}")


def verified(folder: Path, settings: Settings) -> Well:
    """Loads the package as a worker would and ends it again. Raises SettingsInvalid, ModelFailed, ModelUnavailable."""
    from models import registry  # seconds
    from models.chest_gate import GateCard, load_gate
    from streams.remotes import remote_network

    digest = digest_of(folder / CARD)
    if _is_gate(folder):
        load_gate(folder)
        gate = read_card_as(GateCard, folder)
        identity = ModelIdentity(name=gate.name, version=gate.version, weights_sha256=gate.weights.sha256)
        return Well(identity, None, digest, f"its self-test answers within {gate.self_test.tolerance:g} of its card")
    remote = partial(remote_network, remotes=settings.models.remotes)
    found = registry.verify(folder, remote=remote, device=settings.models.device, fast=settings.models.fast)
    said = f"its self-test answers within {found.deviation:.2g} of its card ({found.tolerance:g} are allowed)"
    return Well(found.identity, read_card(folder), digest, said)


def _is_gate(folder: Path) -> bool:
    """Gates have cards of their own."""
    return "chest-gate-cnn" in (folder / CARD).read_text("utf-8", "replace")
