"""`radstream audit verify`: from the settings to an answer for people, or for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from schemas.errors import SettingsInvalid
from streams.audit.signing import public_file, public_keys
from streams.audit.verified import Sources, Told, verify
from streams.audit.verifying import Copy
from streams.audit_settings import AuditSettings
from streams.printable import cell
from streams.progress import progress
from streams.segments.history import ArchivedHistory
from streams.settings import Settings
from streams.wiring.clients import live_history_for, open_history


async def run_verify(
    settings: Settings, public_key_files: Sequence[Path], copies: Sequence[Path], console: Console, *, as_json: bool
) -> bool:
    """Whether all is as it was signed. `copies`: of the checkpoint file, in the place of the notary's own. Raises SettingsInvalid
    (a key; the notary never ran here), BrokerUnavailable, ObjectStoreUnavailable, StoreUnavailable."""
    keys = public_keys(public_key_files or [public_file(settings.audit.key_file)])
    if not copies:
        _require_notary(settings.audit)
    sources = Sources(copies or [settings.audit.checkpoint_file], copies=bool(copies))
    say = Console(stderr=True)
    shown = partial(progress, "verified", say=lambda line: say.print(line, highlight=False))
    async with open_history(settings) as history, live_history_for(settings) as live:
        if isinstance(history, ArchivedHistory):
            archive = Copy(history, history.holes, settings.segments.topics, kept=history.kept)
            told = await verify(live, sources, keys, shown, archive=archive)
        else:
            told = await verify(history, sources, keys, shown)
    if as_json:
        sys.stdout.write(json.dumps(told.plain(), indent=2) + "\n")
    else:
        show(told, console)
    return told.well


def _require_notary(audit: AuditSettings) -> None:
    """Where its key is, a file that is gone is a fault. Where neither is it is another machine, and nobody has removed anything."""
    if not audit.checkpoint_file.exists() and not audit.key_file.exists():
        advice = f"{audit.checkpoint_file} is not here, nor is the notary's key: name a copy of its file: --checkpoint-file FILE"
        raise SettingsInvalid("audit", "checkpoint file", advice)


def show(told: Told, console: Console) -> None:
    """What does not fit first; then how far it was verified, and what nobody promises."""
    for fault in told.faults:
        console.print(fault.line(), style="red", highlight=False, markup=False, soft_wrap=True)
    if told.proven:
        console.print(_table(told))
    for note in told.notes:
        console.print(note, highlight=False, markup=False, soft_wrap=True)
    later = ", ".join(f"{place}: {count}" for place, count in sorted(told.later.items()))
    if later:
        console.print(f"Behind the last checkpoint, and not verified: {later}", highlight=False, markup=False, soft_wrap=True)
    what = "All is as it was signed" if told.well else f"{len(told.faults)} places do not fit what was signed"
    console.print(
        f"{what}: {told.checkpoints} checkpoints. Of what came after the last of a partition nothing is promised.",
        style="green" if told.well else "red",
        highlight=False,
        soft_wrap=True,
    )


def _table(told: Told) -> Table:
    table = Table("partition", "verified offsets", "between checkpoints", "not there any more", "there, and not provable")
    for one in told.proven:
        offsets = f"{one.first}-{one.end - 1}" if one.end > one.first else "none"
        removed = f"{one.removed} (retention, or somebody)" if one.removed else ""
        unproven = str(one.unproven) if one.unproven else ""
        place = f"{one.topic}/{one.partition} {one.copy}".rstrip()
        table.add_row(cell(place), offsets, f"{one.after} and {one.upto}", removed, unproven)
    return table
