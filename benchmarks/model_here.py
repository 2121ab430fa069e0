"""The model of the settings in this very process: what the engine's, in a process of its own, is measured beside."""

from __future__ import annotations

import asyncio

from models.in_process import InProcess
from streams.settings import Settings
from streams.wiring.models import image_model, package_store_for


async def model_here(settings: Settings) -> InProcess:
    """Behind the gate, as in the engine; to be closed."""
    store, terms = package_store_for(settings), settings.models
    gate = None if terms.gate is None else await store.folder(terms.gate)
    return InProcess(await asyncio.to_thread(image_model, await store.folder(terms.use[0]), gate, terms))
