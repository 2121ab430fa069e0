"""`radstream case ACCESSION --at TIME`."""

from __future__ import annotations

import json
import sys

from rich.console import Console

from schemas.errors import SettingsInvalid
from streams.asked_moments import asked_moment
from streams.cases.known import known_then
from streams.cases.linked import case_of
from streams.cases.page import lines, plain
from streams.clock import SystemClock
from streams.looking import case_was_asked_for
from streams.settings import Settings
from streams.wiring.clients import case_store_for, database_is_there, history_for


async def show_case_then(
    settings: Settings, accession_number: str, at: str, console: Console, *, as_json: bool, by: str | None, reason: str
) -> bool:
    """Whether anything is known of it, then or now; who asks is audited first. Raises SettingsInvalid (`at` is no time that can be
    meant; who, why), StoreUnavailable, BrokerUnavailable, ObjectStoreUnavailable."""
    now = SystemClock().now()
    try:
        moment = asked_moment(at, settings.site.time_zone, now)
    except ValueError as error:
        raise SettingsInvalid("case", "--at", str(error)) from None
    if moment > now:
        raise SettingsInvalid("case", "--at", f"{at} is still to come: without --at, case shows what is known now")
    if not database_is_there(settings):
        return False
    cases = case_store_for(settings)
    try:
        timeline = await case_of(accession_number, cases)
    finally:
        await cases.close()
    await case_was_asked_for(settings, accession_number, timeline, by=by, reason=reason)
    if not timeline:
        return False
    known = await known_then(timeline, history_for(settings), moment, settings.site)
    if as_json:
        sys.stdout.write(json.dumps(plain(accession_number, moment, known), indent=2) + "\n")
    else:
        for line in lines(accession_number, moment, known):
            console.print(line, soft_wrap=True, highlight=False, markup=False)
    return True
