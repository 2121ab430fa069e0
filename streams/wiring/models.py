"""From settings to where packages are, and to a model that follows promotions.

Imports are made inside each function, so that a process loads only what its role needs: the listener never sees torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import ModelFailed, SettingsInvalid
from streams.settings import Settings
from streams.wiring.clients import object_store_for, package_folder
from streams.wiring.running import instance_of

if TYPE_CHECKING:
    from models.card import Card
    from models.chest_gate import ChestGate
    from models.image_model import ImageModel
    from models.inference import PackageModel
    from schemas.ports import EventLog
    from streams.health import Part
    from streams.model_settings import ModelSettings
    from streams.model_store import PackageStore
    from streams.promotion.following import Follower
    from streams.promotion.models_in_use import InUse
    from streams.steps.choosing import IntendedUse


def package_store_for(settings: Settings) -> PackageStore:
    """What stands behind `models.url`. Raises SettingsInvalid when it is neither a folder nor s3://BUCKET/PREFIX."""
    from streams.model_store import CopiedPackages, PackageFolder

    url = settings.models.url
    if "://" not in url:
        return PackageFolder(package_folder(url))
    return CopiedPackages(object_store_for(settings, url), settings.models.copies)


async def services(settings: Settings, store: PackageStore) -> Mapping[str, str]:
    """The package of `models.use` for each service. Raises SettingsInvalid, and as `PackageStore.folder`."""
    from models.card import read_card

    found: dict[str, str] = {}
    for reference in settings.models.use:
        service = read_card(await store.folder(reference)).service
        if service in found:
            said = f"{found[service]} and {reference} are both of {service}: name one, the other can be promoted"
            raise SettingsInvalid("settings", "RADSTREAM_MODELS__USE", said)
        found[service] = reference
    return found


async def load_in_use(reference: str, *, settings: Settings, store: PackageStore) -> InUse:
    """A package in a process of its own, behind the gate of the settings. Raises as `streams.promotion.models_in_use.Load`."""
    from models.process import ModelProcess
    from streams.model_store import CARD, digest_of
    from streams.promotion.models_in_use import InUse

    terms = settings.models
    folder = await store.folder(reference)
    card_sha256 = digest_of(folder / CARD)
    gate = None if terms.gate is None else await store.folder(terms.gate)
    load = partial(image_model, folder, gate, terms)
    process = await ModelProcess.start(
        load, batch=terms.batch, wait_ms=terms.batch_wait_ms, timeout_s=terms.timeout_s, threads=terms.threads
    )
    try:
        if digest_of(folder / CARD) != card_sha256:
            raise ModelFailed("load", reference, "its card was changed while it was loaded: try again")
        return InUse(process, intended_use(process.card, settings), process.close, card_sha256)
    except BaseException:
        await process.close()
        raise


def intended_use(card: Card, settings: Settings) -> IntendedUse:
    """The card's, in the words of the site."""
    from streams.steps.choosing import IntendedUse

    use = card.intended_use
    return IntendedUse(
        modalities=use.modalities,
        body_parts=use.body_parts,
        view_positions=use.views,
        body_part_required=use.body_part_required,
        view_required=use.view_required,
        minimum_age_years=use.minimum_age_years,
        maximum_age_years=use.maximum_age_years,
        portable=use.portable,
        words=settings.choosing,
    )


def image_model(folder: Path, gate: Path | None, terms: ModelSettings) -> ImageModel:
    """In this process: that of the model, or of a benchmark. Raises as `models.registry.load`."""
    from models.gated import Gated

    model, guard = loaded(folder, gate, terms)
    return model if guard is None else Gated(model, guard)


def loaded(folder: Path, gate: Path | None, terms: ModelSettings) -> tuple[PackageModel, ChestGate | None]:
    """The package and the gate beside it. Raises as `models.registry.load`."""
    from models.chest_gate import load_gate
    from models.registry import load
    from streams.remotes import remote_network

    remote = partial(remote_network, remotes=terms.remotes)
    model = load(folder, threads=terms.threads, device=terms.device, remote=remote, fast=terms.fast)
    return model, None if gate is None else load_gate(gate)


def follower_for(settings: Settings, service: str, own: str, store: PackageStore, log: EventLog, health: Part) -> Follower:
    """Of one service in the process that analyses. `own`: its package of the settings, see `services`."""
    from streams.clock import SystemClock
    from streams.promotion.following import Follower

    load = partial(load_in_use, settings=settings, store=store)
    worker = instance_of("analyse")
    return Follower(service, own, worker=worker, log=log, load=load, clock=SystemClock(), health=health)
