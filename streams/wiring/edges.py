"""The roles that speak with the outside: listen, deliver.

Imports are made inside each function, so that a process loads only what its role needs: the listener never sees torch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from streams import topics
from streams.clock import SystemClock
from streams.health import Health
from streams.listener_settings import host_and_port
from streams.settings import Settings
from streams.wiring.clients import log_for
from streams.wiring.running import kept, ran_before, run_step, together, window

if TYPE_CHECKING:
    from streams.health import Part
    from streams.listener_settings import ListenerSettings, MllpSettings
    from streams.wiring.destinations import Destination


async def listen(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    from streams.listen import listen
    from streams.tally import Tally

    tally = Tally(settings.run_folder, "listen")
    async with log_for(settings) as log:
        admission = settings.admission
        await listen(log, SystemClock(), settings.mllp, settings.site, stop, health, admission=admission, tally=tally)


async def deliver(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    from streams.wiring.destinations import destinations

    await deliver_to(destinations(settings), settings, stop, health)


async def deliver_to(destinations: Sequence[Destination], settings: Settings, stop: asyncio.Event, health: Health) -> None:
    """Each destination is a consumer group of its own: one that is down, or broken, delays no other (rule 9). So are each return
    address, and whoever is warned of discrepancies."""
    from streams.health import Shared
    from streams.wiring.destinations import bring, warn

    shared = Shared(health)
    answers = return_addresses(settings.mllp)
    of_destinations = [(one.name, f"deliver.{one.name}", partial(bring, one, settings, stop)) for one in destinations]
    of_addresses = [(to, f"answer.{to}", partial(_answer, to, one, settings, stop)) for to, one in answers.items()]
    # ":" is in no destination's name
    runs = (*of_destinations, *of_addresses, ("warn:discrepancies", "warn", partial(warn, settings, stop)))
    # all parts before the first of them is ready: the role is when all are
    parts = [(name, shared.part(name), partial(ran_before, step, settings), run) for name, step, run in runs]
    await together(stop, *(kept(name, partial(run, part), stop, part, ran_before=before) for name, part, before, run in parts))


def return_addresses(mllp: MllpSettings) -> dict[str, ListenerSettings]:
    """Every HOST:PORT that application answers go to, with the first listener that says so."""
    found: dict[str, ListenerSettings] = {}
    for listener in mllp.all:
        for address in (listener.return_address, *(peer.return_address for peer in listener.peers)):
            if address:
                found.setdefault(address, listener)
    return found


async def _answer(address: str, listener: ListenerSettings, settings: Settings, stop: asyncio.Event, health: Part) -> None:
    from connectors.mllp.client import MllpClient
    from connectors.tls import client_context
    from streams.steps.answer import AnswerTo

    host, port = host_and_port(address)
    tls = client_context(listener.return_tls_ca, listener.tls_certificate, listener.tls_key) if listener.return_tls_ca else None
    client = MllpClient(host, port, tls=tls, allow_plaintext_beyond_loopback=listener.allow_plaintext_beyond_loopback)
    name = f"answer.{address}"
    runner = window(name, settings, size=1)
    async with client:
        step = AnswerTo(address, client.send)
        await run_step(name, lambda _: step, [topics.HL7_ACKNOWLEDGEMENTS], runner, settings, stop, health, remembered=True)
