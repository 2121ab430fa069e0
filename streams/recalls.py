"""A version of a model is recalled: all that it said of a study is withdrawn, in the report of its service; also what its service
has replaced since, for a receiver may have refused what did.

Answers heard before are gone through by a timer, page by page, so that thousands hold up no other case and a crash repeats one
page; those heard later are withdrawn when they are. Both hold the lock of the version, so none falls between."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from schemas.case_store import CaseStore, Due
from schemas.findings import Findings, NotAnalysed, NotAnalysedReason
from schemas.hearings import Heard
from schemas.identifiers import StudyInstanceUID, identity
from schemas.model_events import ModelRecalled
from schemas.ports import Outgoing
from streams.emission import emit_findings
from streams.sequences import RECALLED

#: the timer of a recall
RECALL = "recall"

#: studies of one page: a quarter of a second
PAGE = 200

#: before everything else that is due, whatever the clock of who recalled
_AT_ONCE = datetime(1970, 1, 1, tzinfo=UTC)


def key_of_model(name: str, version: str) -> str:
    """The name of its lock."""
    return f"Model {name} {version}"


async def recalled(event: ModelRecalled, *, cases: CaseStore) -> Sequence[Outgoing]:
    """Raises StoreUnavailable."""
    async with cases.correlation(key_of_model(event.name, event.version)) as rows:
        await rows.put_recalled(event)
        await rows.put_due(_page_after("", event.name, event.version))
    return ()


async def recall_goes_on(due: Due, fired_at: datetime, *, cases: CaseStore, page: int = PAGE) -> Sequence[Outgoing]:
    """The timer of a recall: its next page. Raises StoreUnavailable."""
    del fired_at
    name, version, after = due.case.split(" ")
    outs: list[Outgoing] = []
    async with cases.correlation() as rows:
        event = await rows.recalled(name, version)
        studies: Sequence[StudyInstanceUID] = ()
        if event is not None:
            studies = await rows.studies_heard_from(name, version, after, page)
            for study in studies:
                said = await rows.heard_of(study)
                outs += [withdrawal(one, event) for one in said if one.model == (name, version) and not _overtakes(one, said)]
        if len(studies) == page:
            await rows.put_due(_page_after(studies[-1], name, version))
    return outs


def withdrawal(said: Heard, event: ModelRecalled) -> Outgoing:
    """A function of the answer and of the first recall alone: said again, by whatever record, it is the same to the last header."""
    answer = said.findings
    of = answer.subject
    update = {"sequence": of.sequence + RECALLED, "triggered_at": max(of.triggered_at, event.time)}
    # the reason is a person's free text, and is on the audit
    words = f"The model {event.name} {event.version} was recalled: what it said of this study holds no longer."
    withdrawn = Findings(
        analysis_id=identity("recalled", str(answer.analysis_id)),
        subject=of.model_copy(update=update),
        service=answer.service,
        not_analysed=NotAnalysed(reason=NotAnalysedReason.MODEL_RECALLED, explanation=words),
    )
    return emit_findings(withdrawn, None)


def _overtakes(one: Heard, said: Sequence[Heard]) -> bool:
    """Whether the number of its withdrawal would be above that of a later answer: states were numbered without room once."""
    return any(other.service == one.service and one.sequence < other.sequence <= one.sequence + RECALLED for other in said)


def _page_after(study: str, name: str, version: str) -> Due:
    return Due(identity(RECALL, name, version, study), RECALL, f"{name} {version} {study}", _AT_ONCE)
