"""`radstream doctor`: everything the engine needs, each with what to do when it is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from rich.markup import escape

from connectors.kafka_admin import topic_sizes
from schemas.errors import RadstreamError
from streams import topics
from streams.destination_settings import FHIR_DESTINATION
from streams.health import read_health
from streams.pictures import picture_name
from streams.settings import Settings
from streams.tally import GARBAGE, REJECTED, read_tallies
from streams.wiring import ROLES
from streams.wiring.clients import archive_for, case_store_for, database_is_there, object_store_for, without_password
from streams.wiring.destinations import Destination, destinations
from streams.wiring.models import load_in_use, package_store_for


@dataclass(frozen=True, slots=True)
class Examined:
    """One thing looked at; `advice` is what to do when it is not well, or when it is a `warning`: the engine is well, and a sender
    is not, or there is something to know."""

    what: str
    well: bool
    found: str
    advice: str = ""
    warning: bool = False

    def line(self) -> str:
        """In rich's markup, in columns."""
        word, colour = ("look", "yellow") if self.warning else ("well", "green") if self.well else ("wrong", "red")
        advised = self.warning or not self.well
        told = f"[{colour}]{word:6}[/{colour}] {escape(f'{self.what:16} {self.found}')}"
        return told + (f"\n{'':24}-> {escape(self.advice)}" if advised else "")

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


Check = Callable[[Settings], Awaitable[str]]


async def examine(settings: Settings) -> list[Examined]:
    """Looks at all at once; never raises for something that is merely wrong."""
    checks: dict[str, tuple[Check, str]] = {
        "kafka": (_kafka, _where("kafka", "KAFKA__BOOTSTRAP", settings.kafka.bootstrap)),
        "archive": (_archive, _where("orthanc", "ARCHIVE__DICOMWEB_URL", settings.archive.dicomweb_url)),
        **_destinations(settings),
        "database": (_database, "check RADSTREAM_DATABASE__URL: the folder must exist and be writable"),
        "model": (_model, f"check RADSTREAM_MODELS__URL (now {settings.models.url}), USE and GATE"),
    }
    if settings.objects.url is not None:
        checks["objects"] = (_objects, "check RADSTREAM_OBJECTS__URL, S3_ENDPOINT and key files; without pictures: set it to none")
    return [*await _examined(checks, settings), *_roles(settings), *_senders(settings)]


async def examine_destinations(settings: Settings) -> list[Examined]:
    """Those alone, as `examine`."""
    return await _examined(_destinations(settings), settings)


async def _examined(checks: Mapping[str, tuple[Check, str]], settings: Settings) -> list[Examined]:
    async def one(what: str, check: Check, advice: str) -> Examined:
        try:
            return Examined(what, True, await check(settings))
        except RadstreamError as error:
            return Examined(what, False, error.reason, advice)

    return await asyncio.gather(*(one(what, check, advice) for what, (check, advice) in checks.items()))


def _senders(settings: Settings) -> list[Examined]:
    """One warning for each sender or host of which something was refused since the role started."""
    rows = []
    for role, counts in read_tallies(settings.run_folder).items():
        for kind, who in ((REJECTED, "sender"), (GARBAGE, "host")):
            for name, reasons in counts.get(kind, {}).items():
                told = ", ".join(f"{reason} {times}" for reason, times in reasons.items())
                found = f"{sum(reasons.values())} refused by {role} since its start: {told}"
                rows.append(Examined(f"{who} {name}", True, found, "radstream dead-letters list", warning=True))
    return rows


def _where(service: str, setting: str, now: str) -> str:
    return f"radstream services up {service}, or set RADSTREAM_{setting} (now {without_password(now)})"


async def _kafka(settings: Settings) -> str:
    sizes = await asyncio.to_thread(topic_sizes, settings.kafka.bootstrap, [topic.name for topic in topics.ALL])
    missing = [topic.name for topic in topics.ALL if topic.name not in sizes]
    if missing:
        return f"answers; topics to be created at `radstream up`: {', '.join(missing)}"
    letters = sizes[topics.DEAD_LETTERS.name].records
    refused = f"; {letters} dead letters: `radstream dead-letters list` says why" if letters else ""
    return f"answers; all {len(topics.ALL)} topics are there{refused}"


async def _archive(settings: Settings) -> str:
    await archive_for(settings).answers()
    return "answers QIDO-RS"


def _destinations(settings: Settings) -> dict[str, tuple[Check, str]]:
    """The FHIR server of the section `fhir` is called so; it is not only told."""
    return {
        "fhir server" if one.name == FHIR_DESTINATION else f"to {one.name}": (partial(_destination, one), one.advice)
        for one in destinations(settings)
    }


async def _destination(destination: Destination, settings: Settings) -> str:
    del settings
    connected = await asyncio.to_thread(destination.connect)
    try:
        return await connected.ask()
    finally:
        await connected.close()


async def _database(settings: Settings) -> str:
    scheme = settings.database.url.partition(":")[0]
    if not database_is_there(settings):
        return f"{scheme}, to be created at `radstream up`"
    cases = case_store_for(settings)
    await cases.position("doctor")
    await cases.close()
    return scheme


async def _model(settings: Settings) -> str:
    """Each package of the settings, as the engine loads it."""
    store, names = package_store_for(settings), []
    for reference in settings.models.use:
        in_use = await load_in_use(reference, settings=settings, store=store)
        names.append(in_use.reference)
        await in_use.close()
    gate = f"behind the gate {settings.models.gate}" if settings.models.gate else "without a gate: headers are believed"
    return f"{', '.join(names)}, {gate}; checksums and self-tests hold"


async def _objects(settings: Settings) -> str:
    assert settings.objects.url is not None
    await object_store_for(settings, settings.objects.url).holds(picture_name("0" * 64))
    return "answers"


def _roles(settings: Settings) -> list[Examined]:
    known = read_health(settings.run_folder)
    if not any(health.alive for health in known.values()):
        return [Examined("engine", False, f"does not run from {settings.run_folder}", "radstream up")]
    rows = []
    for role in ROLES:
        health = known.get(role.replace(" ", "-"))
        if health is None or not health.alive:
            rows.append(Examined(role, False, "does not run", f"see {settings.run_folder / role.replace(' ', '-')}.log"))
            continue
        well = health.state == "ready" and not health.reason
        if health.state != "ready":
            advice = "it goes on by itself when that answers"
        else:
            advice = "it works; to be known, and nothing to mend" if well else "it works, but a person must act"
        state = f"{health.state} {'; '.join(filter(None, (health.reason, health.note)))}".strip()
        rows.append(Examined(role, well, state, advice, warning=well and bool(health.note)))
    return rows
