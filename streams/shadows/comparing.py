"""What a candidate in a sandbox said, beside what the model in use said of the same state of the same study. Without I/O."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import blake2b
from math import isnan, nan
from sys import intern

import numpy as np
from pydantic import ValidationError

from schemas.findings import Findings
from schemas.ports import Record
from streams.shadows.agreement import Box
from streams.shadows.compared import ModelsCompared, Said, changed, models_compared
from streams.topics import REQUESTS, REQUESTS_BULK, REQUESTS_STAT

REQUEST_TOPICS = (REQUESTS_STAT, REQUESTS, REQUESTS_BULK)
_ASKED = frozenset(topic.name for topic in REQUEST_TOPICS)
#: in the place of a reason of not being analysed
ANALYSED = "analysed"

#: of study, revision, state and service: 100,000 of them are held
_Key = bytes
_Pair = tuple[Said, Said]


@dataclass(frozen=True, slots=True)
class Latency:
    """From request to result, in seconds, of those whose request is still on the log."""

    number: int
    p50: float
    p95: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """A state is one of one revision of one study. `not_analysed`: reason of the one in use, of the candidate, how often; where at
    least one of them did not analyse. `changed`: Study Instance UIDs of which the two do not say the same."""

    sandbox: str
    since: datetime | None
    both: int
    in_use_only: int
    candidate_only: int
    unreadable: int
    not_analysed: tuple[tuple[str, str, int], ...]
    models: tuple[ModelsCompared, ...]
    in_use_latency: Latency | None
    candidate_latency: Latency | None
    changed: tuple[str, ...]


class Comparing:
    """Takes all results of the sandbox, then all of the model in use, then all requests, in this order. `since`: of the states that
    were triggered then or later; None: since the first that the candidate saw."""

    def __init__(self, sandbox: str, since: datetime | None = None) -> None:
        self._sandbox = sandbox
        self._since = since
        self._first: datetime | None = None
        self._candidate: dict[_Key, Said] = {}
        self._in_use: dict[_Key, Said] = {}
        self._in_use_only: set[_Key] = set()
        self._services: set[str] = set()
        self._asked: dict[str, float] = {}
        self._unreadable = 0

    def candidate(self, record: Record) -> None:
        """A record of the sandbox's results."""
        findings = self._findings(record)
        if findings is None or (self._since and findings.subject.triggered_at < self._since):
            return
        at = findings.subject.triggered_at
        self._first = min(self._first or at, at)
        self._services.add(findings.service)
        self._keep(self._candidate, findings, record)

    def in_use(self, record: Record) -> None:
        """A record of `ai.results`. What no model was asked (a cancelled order, an answer that is late) is passed over."""
        findings, since = self._findings(record), self._since or self._first
        if findings is None or since is None or findings.subject.triggered_at < since:
            return
        if _key(findings) in self._candidate:
            self._keep(self._in_use, findings, record)
        elif findings.service in self._services:
            self._in_use_only.add(_key(findings))

    def request(self, record: Record) -> None:
        """A record of one of REQUEST_TOPICS."""
        place = str(record.place)
        if place in self._asked:
            self._asked[place] = record.timestamp.timestamp()

    def comparison(self) -> Comparison:
        """Of what was taken so far."""
        pairs = [(mine, self._candidate[key]) for key, mine in self._in_use.items()]
        analysed = [(mine, its) for mine, its in pairs if not (mine.reason or its.reason)]
        by_models: defaultdict[tuple[str, str], list[_Pair]] = defaultdict(list)
        for mine, its in analysed:
            by_models[mine.model, its.model].append((mine, its))
        reasons = Counter((mine.reason or ANALYSED, its.reason or ANALYSED) for mine, its in pairs if mine.reason or its.reason)
        return Comparison(
            sandbox=self._sandbox,
            since=self._since or self._first,
            both=len(pairs),
            in_use_only=len(self._in_use_only),
            candidate_only=len(self._candidate) - len(pairs),
            unreadable=self._unreadable,
            not_analysed=tuple((*which, number) for which, number in sorted(reasons.items())),
            models=tuple(models_compared(*which, several) for which, several in sorted(by_models.items())),
            in_use_latency=self._latency(mine for mine, _ in analysed),
            candidate_latency=self._latency(its for _, its in analysed),
            changed=tuple(sorted({mine.study for mine, its in pairs if changed(mine, its)})),
        )

    def _findings(self, record: Record) -> Findings | None:
        """None of what no model was asked: its cause is no request."""
        if (record.header("cause") or "").partition("/")[0] not in _ASKED:
            return None
        try:
            return Findings.model_validate_json(record.value)
        except ValidationError:
            self._unreadable += 1
            return None

    def _keep(self, where: dict[_Key, Said], findings: Findings, record: Record) -> None:
        """The last of each state; what is written again by redelivery was answered when it was written first."""
        said = _said(findings, record)
        before = where.setdefault(_key(findings), said)
        if before is not said:
            said = where[_key(findings)] = replace(said, cause=before.cause, answered=before.answered)
        self._asked.setdefault(said.cause, nan)

    def _latency(self, several: Iterable[Said]) -> Latency | None:
        taken = [one.answered - self._asked[one.cause] for one in several if not isnan(self._asked[one.cause])]
        if not taken:
            return None
        median, high = np.percentile(taken, [50, 95])
        return Latency(len(taken), float(median), float(high))


def _key(findings: Findings) -> _Key:
    subject = findings.subject
    parts = (subject.study_instance_uid, subject.revision, str(subject.sequence), findings.service)
    return blake2b("\n".join(parts).encode("utf-8"), digest_size=16).digest()


def _said(findings: Findings, record: Record) -> Said:
    """Strings that many have are held once."""
    model = findings.model
    regions = [(finding.region, finding.kind) for finding in findings.findings]
    return Said(
        study=intern(str(findings.subject.study_instance_uid)),
        model=intern(f"{model.name}/{model.version}") if model else "",
        reason=findings.not_analysed.reason.value if findings.not_analysed else "",
        locates=findings.locates,
        probability=findings.probability,
        boxes=tuple(
            Box(intern(f"{at.sop_instance_uid}/{at.frame}"), at.left, at.top, at.width, at.height, kind.value)
            for at, kind in regions
        ),
        outputs=tuple((intern(output.name), output.value, output.present) for output in findings.outputs),
        cause=intern(record.header("cause") or ""),
        answered=record.timestamp.timestamp(),
    )
