"""`radstream dead-letters list`: how many of what, and each in a line."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from streams.dead_letters.choosing import Filter, chosen
from streams.dead_letters.letters import Letter
from streams.dead_letters.standing import Letters, read_letters
from streams.existing import Existing
from streams.printable import printable, printable_json
from streams.settings import Settings
from streams.wiring.clients import live_history_for

#: of an id: tells thousands apart, and is taken for the whole
_SHOWN = 13


async def run_list(settings: Settings, wanted: Filter, *, all_states: bool, counts_only: bool, as_json: bool) -> None:
    """Makes no topic: one that is missing holds nothing. Raises BrokerUnavailable."""
    async with live_history_for(settings) as live:
        letters = await read_letters(Existing(live), senders=wanted.sender is not None)
    sys.stdout.write(listed(letters, wanted, all_states=all_states, counts_only=counts_only, as_json=as_json))


def listed(letters: Letters, wanted: Filter, *, all_states: bool, counts_only: bool, as_json: bool) -> str:
    """What to print. Keys that may name a patient are hidden; reasons are our own words."""
    found = chosen(letters, wanted, all_states=all_states)
    counted = Counter((one.step, one.error) for one in found).most_common()
    if as_json:
        counts = [{"step": step, "error": error, "letters": number} for (step, error), number in counted]
        value: dict[str, Any] = {"counts": counts}
        if not counts_only:
            value["letters"] = [letters_plain(letters, one) for one in found]
        return printable_json(value, indent=2) + "\n"
    lines = [printable(f"{number:>8}  {step}: {error}") for (step, error), number in counted]
    lines.append(f"{len(found)} {'letter' if len(found) == 1 else 'letters'}{'' if all_states else ' open'}")
    if found and not counts_only:
        lines += ["", *_lines(letters, found)]
    return "\n".join(lines) + "\n"


def letters_plain(letters: Letters, one: Letter) -> dict[str, Any]:
    """For `--json`. A letter that is here is named, whoever wrote the header that names it."""
    told = one.plain() | {"state": letters.state(one), "copies": letters.copies[one.id]}
    return told | {"came_from": one.came_from} if one.came_from in letters.places else told


def _lines(letters: Letters, found: Sequence[Letter]) -> list[str]:
    """No table of rich's: it takes seconds for thousands."""
    return [
        printable(
            f"{str(one.id)[:_SHOWN]}  {letters.state(one):9}  {one.at.astimezone().isoformat(sep=' ', timespec='seconds')}  "
            f"{one.step:14}  {one.error:18}  {one.stood or one.topic:26}  {one.shown_key:24}  {one.reason}"
        )
        for one in found
    ]
