"""It is on the audit who sees what was not published, before it is shown and before anything is done."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest

from schemas.acts import Looked
from streams.replay import diffing, publish
from streams.replay.changes import Tolerance
from streams.replay.manifest import ReplayFolder
from streams.replay.plan import Plan
from streams.replay.publishing import Approval
from streams.replay.replaying import Who, create
from streams.replay.selection import Selection
from streams.settings import Settings
from tests.unit.published_replays import NOW, SANDBOX, Log
from tests.unit.replays import HERE, NAME, said, uid


async def test_who_sees_what_was_not_published_is_on_the_audit_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    log, settings, lines = Log(), Settings(run_folder=tmp_path / "run"), list[str]()
    log.create("radstream.models", partitions=1)
    await log.live(said(1, outward=False), said(2), said(3))
    await log.replayed(said(1, [HERE]), said(2), NOW.model_copy(update={"subject": said(3).subject}))
    create(settings, NAME, Plan(selection=Selection(accession_numbers=("A1",)), parts=()), Who("W", "why"))
    folder = ReplayFolder(settings, NAME)
    folder.write(folder.read().model_copy(update={"state": "done"}))

    async def found(*_: object) -> diffing.Compared:
        return log.compared()

    monkeypatch.setattr(publish, "read_diff", found)
    monkeypatch.setattr(publish, "log_for", lambda settings: nullcontext(log))
    monkeypatch.setattr(publish, "ensure_all_topics", lambda settings: None)

    async def published(*numbers: int) -> list[Looked]:
        chosen = frozenset(uid(number) for number in numbers)
        await publish.run_publish(settings, NAME, chosen, Approval(" Dr B", "why "), Tolerance(), say=lines.append, as_json=False)
        acts = [one for one in log.records("radstream.audit") if one.header("ce_type") == Looked.TYPE]
        return [Looked.model_validate_json(one.value) for one in acts]

    assert not await published(3), "of what is published there is an act that says so"
    log.meanwhile = partial(_nothing_told, lines, len(lines))
    (act,) = await published(1, 2)
    assert (act.what, act.by, act.reason) == ("replay publish", "Dr B", "why")
    stand = [record for topic in ("ai.results", SANDBOX) for record in log.records(topic)]
    named = {str(one.place) for one in stand if (one.key or b"").decode() in (uid(1), uid(2))}
    assert (set(act.places), len(named)) == (named, 4)
    assert [uid(1) in line or uid(2) in line for line in lines[-3:]] == [True, True, False]


async def _nothing_told(lines: list[str], before: int) -> None:
    assert len(lines) == before
