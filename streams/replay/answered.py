"""When the live answers came. They are known by what they answer, and not by their id alone: that holds the number of the state,
and where a case has another number of states now, or another version numbered them, no id is the same."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from pydantic import ValidationError

from schemas.findings import Findings
from schemas.history import History, Span
from streams import topics
from streams.across import across_gaps
from streams.replay.ahead import Ahead
from streams.replay.gaps import parted

_REQUESTS = tuple(f"{topic.name}/" for topic in (topics.REQUESTS, topics.REQUESTS_STAT, topics.REQUESTS_BULK))


async def answered_at(
    history: History, spans: Sequence[Span], studies: Collection[str], now: datetime | None = None
) -> Mapping[str, datetime]:
    """When each of these studies came first, by id and by `question_of`; of a worker whose clock was ahead (`now`: as of Ahead)
    when the one behind it came. Raises as `History.records`."""
    found, places, ahead = dict[str, datetime](), dict[str, str](), Ahead(now)
    keys = {study.encode("ascii") for study in studies}
    for span in spans:
        async for record in across_gaps(history, span, lambda _: None):  # the plan tells of them
            ahead.add(record.place, record.timestamp)
            if record.key not in keys:
                continue
            names = [record.header("ce_id") or ""]
            if (record.header("cause") or "").startswith(_REQUESTS):  # what is said of an answer later answers nothing
                names.append(question_of(record.value))
            for name in filter(None, names):
                if name not in found:
                    found[name], places[name] = record.timestamp, str(record.place)
    times = ahead.times()
    return {name: times.get(places[name], at) for name, at in found.items()} if times else found


async def answers_gone(history: History, since: datetime | None) -> Sequence[Span]:
    """What nobody has of the answers that came since then: a replay does not know when these came. Raises as `History.since`."""
    spans = () if since is None else await history.since(topics.RESULTS.name, since)
    _, gone = await parted(history, [span for span in spans if len(span)])
    return gone


def question_of(value: bytes) -> str:
    """Study, service, revision and the moment at which it was asked, as SHA-256, for there may be very many; "" of what are no
    Findings."""
    try:
        findings = Findings.model_validate_json(value)
    except ValidationError:
        return ""
    subject = findings.subject
    told = (subject.study_instance_uid, findings.service, subject.revision, str(subject.triggered_at.timestamp()))
    return hashlib.sha256("\n".join(told).encode()).hexdigest()
