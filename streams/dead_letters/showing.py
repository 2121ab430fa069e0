"""`radstream dead-letters show`: one letter, decoded, and what became of it."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from schemas.acts import DeadLetterDiscarded
from schemas.ports import Headers, Record
from streams import topics
from streams.answering import ANSWER_CODES, ANSWER_TO, CHARSET, PEER
from streams.audit.acts import Actor, audited, looked
from streams.clock import SystemClock
from streams.dead_letter import split_headers
from streams.dead_letters.decoded import Part, decoded
from streams.dead_letters.faults import fault_of
from streams.dead_letters.letters import RESENT_FROM, Letter
from streams.dead_letters.listing import letters_plain
from streams.dead_letters.standing import LetterAct, Letters, read_letters, record_of
from streams.due import ATTEMPTS, PARKED_BY, PARKED_FROM
from streams.existing import Existing
from streams.hidden import HIDDEN
from streams.printable import printable, printable_json
from streams.settings import Settings
from streams.wiring.clients import ensure_all_topics, live_history_for, log_for

#: of our own making, where the record came to us first: others may have been written by anybody, with anything in them
_OURS = {
    *("ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time", "content-type", "traceparent", "cause"),
    *(PEER, ANSWER_TO, ANSWER_CODES, CHARSET, ATTEMPTS, PARKED_FROM, PARKED_BY, RESENT_FROM),
}
_HL7 = {topics.HL7_RAW.name, topics.HL7_ACKNOWLEDGEMENTS.name, "mllp"}
_MARK = ">>"
_PATH = re.compile(r"[A-Za-z0-9_.,\[\]() /-]{1,200}")
_CODE = re.compile(r"[a-z-]{1,40}")


async def run_show(settings: Settings, id: str, revealed_for: Actor | None, *, as_json: bool) -> None:
    """`revealed_for`: who sees the values, and why: then the audit is told first. Raises SettingsInvalid, BrokerUnavailable."""
    async with live_history_for(settings) as live:
        there = Existing(live)
        letters = await read_letters(there, senders=True)
        (letter,) = letters.named([id])
        record = await record_of(there, letter)
    if revealed_for is not None:
        await asyncio.to_thread(ensure_all_topics, settings)
        async with log_for(settings) as log:
            act = looked("dead-letters show", revealed_for, at=SystemClock().now(), places=[letter.place])
            await audited(log, f"dead-letter.{letter.id}", act)
    told = shown(letters, letter, record, settings.site.default_charset, reveal=revealed_for is not None)
    sys.stdout.write(printable_json(told, indent=2) + "\n" if as_json else in_words(told))


def shown(letters: Letters, letter: Letter, record: Record, charset: str, *, reveal: bool) -> dict[str, Any]:
    """`record`: the letter as it stands on its topic. `charset` (table 0211): the site's. Without `reveal` nothing in it is patient
    data."""
    before, after = split_headers(record)
    original = {name: value.decode("utf-8", "replace") for name, value in before}
    told = letters_plain(letters, letter)
    if reveal:
        told |= {"key": (letter.key or b"").decode("utf-8", "replace"), "came_from": letter.came_from}
    parts = decoded(
        record.value,
        original.get("ce_type", ""),
        letter.topic in _HL7,
        original.get(CHARSET) or charset,
        fault_of(letter.reason),
        reveal=reveal,
    )
    return told | {
        "revealed": reveal,
        "answer": [asdict(part) for part in _answer(after, reveal)],
        "value": [asdict(part) for part in parts],
        "headers": [_header(*one, others=letter.headers_are_hidden, reveal=reveal) for one in before],
        "since": [_act(act) for act in letters.acts.get(letter.id, ())],
        "came_back": [{"id": str(one.id), "state": letters.state(one)} for one in letters.came_back(letter)],
    }


def _header(name: str, value: bytes, *, others: bool, reveal: bool) -> list[str]:
    """`others`: than we wrote it."""
    ours = name in _OURS
    shown_name = name if reveal or ours or not others else HIDDEN
    return [shown_name, value.decode("utf-8", "replace") if reveal or (ours and not others) else HIDDEN]


def _answer(after: Headers, reveal: bool) -> Sequence[Part]:
    """What a receiver said of it (OperationOutcome): codes and places; its words, which may quote, only when they may be seen."""
    outcome = dict(after).get("operation-outcome")
    if outcome is None:
        return ()
    if reveal:
        return [Part("operation-outcome", outcome.decode("utf-8", "replace"))]
    try:
        return [_issue(one) for one in json.loads(outcome)["issue"]]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return [Part("operation-outcome", f"{len(outcome)} bytes {HIDDEN}")]


def _issue(issue: dict[str, Any]) -> Part:
    """A path that quotes nothing, and a word of the standard's own list."""
    said = " ".join(map(str, issue.get("expression") or issue.get("location") or ()))
    code = str(issue.get("code", ""))
    return Part(said if _PATH.fullmatch(said) else "issue", code if _CODE.fullmatch(code) else HIDDEN, wrong=True)


def _act(act: LetterAct) -> dict[str, Any]:
    told: dict[str, Any] = {"time": act.time.isoformat(), "by": act.by, "reason": act.reason, "outcome": act.outcome}
    if isinstance(act, DeadLetterDiscarded):
        return {"what": "discarded"} | told
    return {"what": "resent"} | told | {"corrected_sha256": act.corrected_sha256}


def in_words(told: dict[str, Any]) -> str:
    lines = [
        f"{told['id']}  {told['state']}" + (f", written {told['copies']} times" if told["copies"] > 1 else ""),
        f"  {told['place']}, {told['time']}",
        f"  {told['step']} of {told['stood'] or told['topic']}, try {told['attempts']}, {told['bytes']} bytes",
        f"  key {told['key'] or '-'}" + (f", sender {told['sender']}" if told["sender"] else ""),
        f"  {told['error']}: {told['reason']}",
    ]
    if told["came_from"]:
        lines.append(f"  its record was sent again from {told['came_from']}")
    for title in ("answer", "value"):
        if told[title]:
            lines += ["", title, *_parts(told[title])]
    if told["headers"]:
        lines += ["", "headers of its record", *(f"   {name:16} {value}" for name, value in told["headers"])]
    since = [_in_words(act) for act in told["since"]]
    since += [f"   it came back as {one['id']}, {one['state']}" for one in told["came_back"]]
    lines += ["", "since then", *(since or ["   nothing"])]
    if not told["revealed"]:
        lines += ["", "Values show their form only: 9 a digit, x another letter. --reveal shows them, and the audit says to whom."]
    return "\n".join(map(printable, lines)) + "\n"


def _parts(parts: Sequence[dict[str, Any]]) -> list[str]:
    width = min(max(len(part["place"]) for part in parts), 48)
    return [f"{_MARK if part['wrong'] else '':3}{part['place']:{width}}  {part['value']}" for part in parts]


def _in_words(act: dict[str, Any]) -> str:
    what = act["what"]
    if what == "resent":
        what = {"begun": "began to be sent again", "done": "sent again", "failed": "could not be sent again"}[act["outcome"]]
        if act["corrected_sha256"]:
            what += f", corrected (SHA-256 {act['corrected_sha256'][:16]}...)"
    return f"   {act['time']}  {what} by {act['by']}: {act['reason']}"
