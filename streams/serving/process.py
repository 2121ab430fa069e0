"""The process of `radstream model serve`: what it loads, where it answers, how it ends."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, closing
from importlib.metadata import version
from typing import TYPE_CHECKING

from pydantic import ValidationError

from connectors.inference import V2Network
from connectors.inference_served import Ready, Served, always_ready
from connectors.inference_server import InferenceServer
from schemas.errors import SettingsInvalid
from schemas.findings import DEMONSTRATION
from streams.model_settings import ModelSettings
from streams.observability import configure_logging
from streams.serving.films import Films
from streams.serving.readiness import Readiness
from streams.serving.served import findings_of, network_of
from streams.settings import Settings
from streams.wiring.clients import archive_for, film_files_for, object_store_for
from streams.wiring.models import intended_use, loaded, package_store_for

if TYPE_CHECKING:
    from models.inference import PackageModel


async def run_serve(settings: Settings, references: Sequence[str], say: Callable[[str], None]) -> None:
    """Serves these packages (NAME/VERSION; none: those in use by the settings) until TERM or Ctrl-C, and then answers what is in
    flight. Raises SettingsInvalid, ModelFailed, ModelUnavailable."""
    configure_logging("serve")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    serving = settings.serving
    async with AsyncExitStack() as stack:
        films = _films(settings, stack)
        models: list[Served] = []
        for reference in _references(settings, references):
            models += await served_package(settings, reference, films, stack)
        server = InferenceServer(
            models,
            version=version("radstream"),
            host=serving.host,
            port=serving.port,
            size_limit=serving.size_limit,
            token_file=serving.token_file,
            certificate=serving.tls_certificate,
            key=serving.tls_key,
        )

        def listening() -> None:
            scheme = "https" if serving.tls_certificate else "http"
            named = ", ".join(f"{one.name} (version {one.version})" for one in models)
            say(f"{scheme}://{serving.host}:{server.port}/v2 answers for {named}. Ctrl-C stops it.")
            say(DEMONSTRATION)

        await server.listen(stop, listening)


def _references(settings: Settings, references: Sequence[str]) -> tuple[str, ...]:
    try:
        told = {} if not references else {"use": tuple(references)}
        return ModelSettings.model_validate(settings.models.model_dump() | told).use
    except ValidationError:
        raise SettingsInvalid("serve", "packages", "are named NAME/VERSION, e.g. chest-nodule/2") from None


def _films(settings: Settings, stack: AsyncExitStack) -> Films:
    url = settings.objects.url
    return Films(
        files=stack.enter_context(closing(film_files_for(settings))),
        archive=stack.enter_context(closing(archive_for(settings))),
        archive_url=settings.archive.dicomweb_url,
        objects=None if url is None else object_store_for(settings, url),
        pixel_limit=settings.decoding.pixel_limit,
        size_limit=settings.serving.size_limit,
    )


async def served_package(settings: Settings, reference: str, films: Films, stack: AsyncExitStack) -> list[Served]:
    """Both of its models: behind the gate of the settings, and bare. What they hold ends with the stack. Raises as `run_serve`."""
    from models.gated import Gated
    from models.in_process import InProcess

    store, terms = package_store_for(settings), settings.models
    gate_folder = None if terms.gate is None else await store.folder(terms.gate)
    model, gate = await asyncio.to_thread(loaded, await store.folder(reference), gate_folder, terms)
    card = model.card
    finding = InProcess(model if gate is None else Gated(model, gate), batch=terms.batch, wait_ms=terms.batch_wait_ms)
    stack.push_async_callback(finding.close)
    thread = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="network"))
    canvas = (card.input.channels, card.input.canvas, card.input.canvas)
    ready = _ready(reference, model, stack)
    return [
        findings_of(finding, [reading.name for reading in card.outputs], films, intended_use(card, settings), ready),
        await network_of(card.name, card.version, model.network, canvas, thread, ready),
    ]


def _ready(reference: str, model: PackageModel, stack: AsyncExitStack) -> Ready:
    """What is loaded here stays ready; a server of the site may be away."""
    if not isinstance(model.network, V2Network):
        return always_ready
    return Readiness(reference, model.network, stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="ready")))
