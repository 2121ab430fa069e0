"""What was known of a case, for a terminal and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any

from streams.cases.items import Gone, Item
from streams.cases.known import Known
from streams.printable import printable

_BASIS = "By then is by the time at which a record was written to the log (when we knew), not by the times it speaks of."


def lines(accession_number: str, moment: datetime, known: Known) -> Iterator[str]:
    """Times in the zone of `moment`."""

    def told(at: datetime) -> str:
        return at.astimezone(moment.tzinfo).isoformat(sep=" ", timespec="milliseconds")

    yield f"accession number {accession_number}, as known at {told(moment)}"
    yield _BASIS
    yield from (f"study {study}" for study in known.studies)
    if known.nothing:
        yield "nothing was known"
    for name, items in known.sections.items():
        if not items and known.nothing:
            continue
        yield ""
        yield name if items else f"{name}: none"
        yield from (printable(f"  {told(item.at)}  {item.place!s:26}  {item.words(told)}") for item in items)
    if known.next_at is not None:
        yield ""
        yield f"came later: {known.later} record" + ("" if known.later == 1 else "s") + f", the first at {told(known.next_at)}"


def plain(accession_number: str, moment: datetime, known: Known) -> dict[str, Any]:
    """For `--json`."""
    return {
        "accession_number": accession_number,
        "at": moment.isoformat(),
        "basis": _BASIS,
        "studies_known": list(known.studies),
        **{name.replace(" ", "_"): [_plain(item) for item in items] for name, items in known.sections.items()},
        "later": {"records": known.later, "first_at": None if known.next_at is None else known.next_at.isoformat()},
    }


def _plain(item: Item) -> dict[str, Any]:
    told = asdict(item) | {"place": str(item.place), "removed": isinstance(item, Gone)}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in told.items()}
