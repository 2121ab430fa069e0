"""`radstream audit export`: what was done, for the hospital's audit repository. Patients are looked up now, in the records that the
acts name: the log of the acts itself holds only keyed hashes."""

from __future__ import annotations

import asyncio
import json
import platform
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

from schemas.errors import SettingsInvalid
from schemas.history import History, Span
from schemas.ports import Clock, EventLog
from schemas.renderings.audited import Audited, Receiver, Surroundings
from streams.audit.acts import Actor, audited, looked
from streams.audit.tracing import with_patients
from streams.audit.viewing import AUDIT_EXPORT, ENGINE, PEOPLE, entries, said_of, spans_of
from streams.clock import SystemClock
from streams.destination_settings import FHIR_DESTINATION
from streams.existing import Existing
from streams.progress import progress
from streams.section import is_loopback
from streams.settings import Settings
from streams.whole_file import whole_file
from streams.wiring.clients import ensure_all_topics, log_for, open_history

Render = Callable[[Audited], str]
#: are looked up together
_TOGETHER = 500


@dataclass(frozen=True, slots=True)
class Export:
    """What is to be exported. `format`: balp, dicom or syslog."""

    format: str
    since: datetime | None = None
    until: datetime | None = None
    patients: bool = True


@dataclass(slots=True)
class Count:
    """`unresolved`: about records that name a patient for sure, and the log does not hold them any more, or nobody in them can be
    read; `gaps`: what neither log nor archive has."""

    written: int = 0
    unresolved: int = 0
    gaps: list[Span] = field(default_factory=list)


async def run_export(settings: Settings, export: Export, out: Path | None, who: Actor, say: Callable[[str], None]) -> None:
    """To a file (it appears when it is whole) or standard output (None). Raises BrokerUnavailable, RecordsRemoved, SettingsInvalid
    (the file cannot be written), and as an archive of the log does."""
    if export.patients:
        await asyncio.to_thread(ensure_all_topics, settings)  # that of the audit may be missing yet
    render = renderer(settings, export.format)
    async with open_history(settings) as standing:
        history = Existing(standing)
        async with log_for(settings) as log:
            spans = await begun(log, history, export, who, SystemClock())
        with _written_to(out) as file, progress("audit export", sum(map(len, spans)), say) as tell:
            count = Count()
            async for line in exported(history, settings, export, spans, render, count, tell):
                file.write(line + "\n")
    for gap in count.gaps:
        say(said_of(gap))
    say(_summary(count, out, export))


async def begun(log: EventLog, history: History, export: Export, who: Actor, clock: Clock) -> list[Span]:
    """What there is to export now. With patients in it, it is audited first who takes them out. Raises BrokerUnavailable."""
    spans = await spans_of(history, PEOPLE + ENGINE, export.since)
    if export.patients:
        act = looked(AUDIT_EXPORT, who, at=clock.now())
        await audited(log, "looked.audit-export", act)
    return spans


async def exported(
    history: History,
    settings: Settings,
    export: Export,
    spans: list[Span],
    render: Render,
    count: Count,
    tell: Callable[[int], None] = lambda done: None,
) -> AsyncIterator[str]:
    """A line each, in the order of the log. Raises as `History.records`."""
    read = 0
    for span in spans:
        async for some in _some(entries(history, [span], count.gaps.append, since=export.since, until=export.until)):
            if export.patients:
                some = await with_patients(history, some, settings.site)
                count.unresolved += sum(1 for one in some if not one.patients and (one.places or one.destination or one.step))
            for one in some:
                yield render(one)
            count.written += len(some)
            tell(read + len(some))
            read += len(some)


async def _some(of: AsyncIterator[Audited]) -> AsyncIterator[list[Audited]]:
    some: list[Audited] = []
    async for one in of:
        some.append(one)
        if len(some) == _TOGETHER:
            yield some
            some = []
    if some:
        yield some


def renderer(settings: Settings, format: str) -> Render:
    """Of one line. Only FHIR needs its library."""
    around = surroundings(settings)
    if format == "balp":
        from schemas.renderings.fhir.audit_event import audit_event_of
        from streams.wiring.walk import reporting_site

        site = reporting_site(settings)
        return lambda one: json.dumps(audit_event_of(one, around, site), ensure_ascii=False)
    from schemas.renderings.dicom.audit_message import audit_message_of
    from schemas.renderings.syslog import syslog_line

    if format == "dicom":
        return lambda one: audit_message_of(one, around)
    return lambda one: syslog_line(
        audit_message_of(one, around), at=one.at, failed=one.outcome == "failed", machine=around.machine, version=around.version
    )


def surroundings(settings: Settings) -> Surroundings:
    """A broker on this machine serves this machine alone, so all of the engine is here."""
    broker = urlsplit(f"//{settings.kafka.bootstrap.split(',')[0].strip()}").hostname
    receivers = {FHIR_DESTINATION: Receiver("fhir", _address(settings.fhir.url))}
    told = settings.destinations
    receivers |= {one.name: Receiver("fhir", _address(one.url)) for one in told.fhir}
    receivers |= {
        one.name: Receiver("archive", _address(one.dicomweb_url or settings.archive.dicomweb_url)) for one in told.archive
    }
    receivers |= {one.name: Receiver("oru", one.address) for one in told.oru}
    receivers |= {one.name: Receiver("webhook", _address(one.url)) for one in told.webhook}
    return Surroundings(
        site=settings.site.default_assigner,
        version=version("radstream"),
        machine=platform.node() or None if is_loopback(broker) else None,
        receivers=receivers,
    )


def _address(url: str) -> str:
    """Without what may be a secret: user, password, query."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


@contextmanager
def _written_to(out: Path | None) -> Iterator[TextIO]:
    """A file that is nobody else's, and appears when it is whole."""
    if out is None:
        yield sys.stdout
        return
    try:
        with whole_file(out) as file:
            text = TextIOWrapper(file, encoding="utf-8", newline="\n")
            yield text
            text.detach()
    except OSError as error:
        raise SettingsInvalid("audit export", str(out), f"cannot be written: {error.strerror}") from None


def _summary(count: Count, out: Path | None, export: Export) -> str:
    where = "" if out is None else f" in {out}"
    without = f"; of {count.unresolved} no patient could be found: their records are gone, or name none" if count.unresolved else ""
    return f"{count.written} written{where}" + (without if export.patients else "; patients are left out")
