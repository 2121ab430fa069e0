"""`radstream doctor`: everything the engine needs, each with what to do when it is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

from connectors.case_store import SqlCaseStore
from connectors.kafka_admin import topic_sizes
from schemas.errors import RadstreamError
from streams import topics
from streams.health import read_health
from streams.settings import Settings
from streams.wiring import ROLES, archive_for, fhir_server_for, package_for


@dataclass(frozen=True, slots=True)
class Examined:
    """One thing looked at; `advice` is what to do when it is not well."""

    what: str
    well: bool
    found: str
    advice: str = ""

    def line(self) -> str:
        mark = "[green]well[/green]" if self.well else "[red]wrong[/red]"
        return f"{mark:22} {self.what:16} {self.found}" + (f"\n{'':15}{'':8}-> {self.advice}" if not self.well else "")

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


async def examine(settings: Settings) -> list[Examined]:
    """Looks at all at once; never raises for something that is merely wrong."""
    checks: dict[str, tuple[Callable[[Settings], Awaitable[str]], str]] = {
        "kafka": (_kafka, f"radstream services up kafka, or set RADSTREAM_KAFKA__BOOTSTRAP (now {settings.kafka.bootstrap})"),
        "archive": (_archive, f"radstream services up orthanc, or set RADSTREAM_ARCHIVE__DICOMWEB_URL (now {settings.archive.dicomweb_url})"),
        "fhir server": (_fhir, f"radstream services up fhir, or set RADSTREAM_FHIR__URL (now {settings.fhir.url})"),
        "database": (_database, "check RADSTREAM_DATABASE__URL: the folder must exist and be writable"),
        "model": (_model, f"check RADSTREAM_MODELS__URL (now {settings.models.url})"),
    }  # fmt: skip

    async def one(what: str, check: Callable[[Settings], Awaitable[str]], advice: str) -> Examined:
        try:
            return Examined(what, True, await check(settings))
        except RadstreamError as error:
            return Examined(what, False, error.reason, advice)

    examined = await asyncio.gather(*(one(what, check, advice) for what, (check, advice) in checks.items()))
    return [*examined, *_roles(settings)]


async def _kafka(settings: Settings) -> str:
    sizes = await asyncio.to_thread(topic_sizes, settings.kafka.bootstrap, [topic.name for topic in topics.ALL])
    missing = [topic.name for topic in topics.ALL if topic.name not in sizes]
    if missing:
        return f"answers; topics to be created at `radstream up`: {', '.join(missing)}"
    return f"answers; all {len(topics.ALL)} topics are there"


async def _archive(settings: Settings) -> str:
    await archive_for(settings).answers()
    return "answers QIDO-RS"


async def _fhir(settings: Settings) -> str:
    return f"FHIR {await fhir_server_for(settings).version()}"


async def _database(settings: Settings) -> str:
    cases = await asyncio.to_thread(SqlCaseStore, settings.database.url)
    await cases.position("doctor")
    await cases.close()
    return settings.database.url.split(":", 1)[0]


async def _model(settings: Settings) -> str:
    identity = await asyncio.to_thread(package_for, settings)
    return f"{identity.name} {identity.version}, checksum holds"


def _roles(settings: Settings) -> list[Examined]:
    """Only when an engine was started from this folder."""
    known = read_health(settings.run_folder)
    if not known:
        return [Examined("engine", True, "not started from this folder (radstream up)")]
    rows = []
    for role in ROLES:
        health = known.get(role.replace(" ", "-"))
        if health is None or not health.alive:
            rows.append(Examined(role, False, "does not run", f"see {settings.run_folder / role.replace(' ', '-')}.log"))
        else:
            rows.append(Examined(role, health.state == "ready", f"{health.state} {health.reason}".strip(), "it goes on by itself when that answers"))
    return rows
