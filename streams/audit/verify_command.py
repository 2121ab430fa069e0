"""`radstream audit verify`: from the settings to an answer for people, or for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from streams.audit.signing import public_file, public_keys
from streams.audit.verified import Sources, Told, verify
from streams.audit.verifying import Copy
from streams.promotion.progress import progress
from streams.segments.history import ArchivedHistory
from streams.settings import Settings
from streams.wiring.clients import history_for, live_history_for


async def run_verify(
    settings: Settings, public_key_files: Sequence[Path], copies: Sequence[Path], console: Console, *, as_json: bool
) -> bool:
    """Whether all is as it was signed. `copies`: of the checkpoint file, in the place of the notary's own. Raises SettingsInvalid
    (a key), BrokerUnavailable, ObjectStoreUnavailable, StoreUnavailable."""
    keys = public_keys(public_key_files or [public_file(settings.audit.key_file)])
    sources = Sources(copies or [settings.audit.checkpoint_file], copies=bool(copies))
    say = Console(stderr=True)
    shown = partial(progress, "verified", say=lambda line: say.print(line, highlight=False))
    history = history_for(settings)
    if isinstance(history, ArchivedHistory):
        archive = Copy(history, history.holes, settings.segments.topics)
        told = await verify(live_history_for(settings), sources, keys, shown, archive=archive)
    else:
        told = await verify(history, sources, keys, shown)
    if as_json:
        sys.stdout.write(json.dumps(told.plain(), indent=2) + "\n")
    else:
        show(told, console)
    return told.well


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
        console.print(f"Behind the last checkpoint, and not verified: {later}", highlight=False, soft_wrap=True)
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
        table.add_row(f"{one.topic}/{one.partition}", offsets, f"{one.after} and {one.upto}", removed, unproven)
    return table
