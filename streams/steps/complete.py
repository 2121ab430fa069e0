"""From a notice to a complete study: the archive is asked what it holds, and counted, until nothing is missing and nothing
more comes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from pydantic import ValidationError

from schemas.case_store import CaseStore, Due
from schemas.errors import MalformedMessage, StudyIncomplete
from schemas.identifiers import SOPInstanceUID, StudyInstanceUID, identity
from schemas.notices import StudyNoticed
from schemas.ports import Outgoing, Record
from schemas.study_events import StudyCompleted, revision_of
from schemas.study_ports import StudyArchive, StudyDescription, StudyOrigin
from streams.due import attempts_of
from streams.emission import emit
from streams.topics import NOTICES, STUDIES

#: the timer's name: a study that is counted again after its quiet time
QUIET = "quiet"
#: tries after which what is there is taken, though the source promised more: about ten minutes with the delays of streams.due
PATIENCE = 7

#: studies of one accession number: more share no order, but a word for "none" that somebody types where a number should be
MOST_STUDIES = 50

_log = structlog.get_logger()


async def complete(
    record: Record, *, archive: StudyArchive, cases: CaseStore, quiet: timedelta, origin: StudyOrigin | None = None
) -> Sequence[Outgoing]:
    """A StudyNoticed becomes StudyCompleted; or is counted again after `quiet`; or, of an accession number, a notice for each of
    its studies, so that one study is never counted twice at the same time. Raises MalformedMessage, StudyIncomplete (not all
    there yet: parked; a hint is given up quietly after PATIENCE tries), and what `archive`, `cases` and `origin` (asked where the
    notice does not say who sent the images) raise."""
    try:
        notice = StudyNoticed.model_validate_json(record.value)
    except ValidationError:
        raise MalformedMessage("complete", str(record.place), "no StudyNoticed") from None
    try:
        if notice.study_instance_uid is None:
            return await _of_accession_number(notice, record, archive)
        return await _counted(notice.study_instance_uid, notice, record, archive, cases, quiet, origin)
    except StudyIncomplete:
        if not notice.hint or attempts_of(record) < PATIENCE:
            raise
        _log.info("no study came", source=notice.source, place=str(record.place))
        return ()


async def _counted(
    study: StudyInstanceUID,
    notice: StudyNoticed,
    record: Record,
    archive: StudyArchive,
    cases: CaseStore,
    quiet: timedelta,
    origin: StudyOrigin | None,
) -> Sequence[Outgoing]:
    there = await _there(study, notice, archive)
    later: Sequence[Outgoing] = ()
    if attempts_of(record) < PATIENCE:
        try:
            _check_promise(notice, there)
        except StudyIncomplete:
            if not notice.removed:
                raise
            later = (_promise(notice, record),)
    counted = _digest(there.instances)
    taken_away = notice.removed or there.rejected
    if not (notice.settled or taken_away or notice.instances or notice.counted == counted):
        again = notice.model_copy(update={"id": _count_id(notice, counted, record.timestamp, quiet), "counted": counted})
        await cases.put_due(_after(record, again, quiet))
        return ()
    revision = revision_of(there.images)
    number, patient = there.accession_number, there.patient
    sent_by = notice.source_ae_title
    if sent_by is None and origin is not None and there.instances:
        sent_by = await origin.sent_by(study)
    said = ("" if number is None else number.text, "" if patient is None else patient.text)
    completed = StudyCompleted(
        id=identity("study-completed", study, revision, *said, notice.source, str(notice.id)),
        time=_counted_at(notice, record),
        study_instance_uid=study,
        accession_number=number,
        patient=patient,
        patient_age_years=there.patient_age_years,
        study_date=there.study_date,
        study_description=there.study_description,
        images=there.images,
        revision=revision,
        source=notice.source,
        source_position=notice.source_position,
        instance_count=len(there.instances),
        promised_count=len(notice.instances) or notice.instance_count,
        rejected_count=len(there.rejected),
        source_ae_title=sent_by,
    )
    return (emit(STUDIES, study, completed, record), *later)


async def _of_accession_number(notice: StudyNoticed, record: Record, archive: StudyArchive) -> Sequence[Outgoing]:
    assert notice.accession_number is not None
    studies = await archive.studies_of(notice.accession_number)
    if not studies:
        raise StudyIncomplete("complete", notice.source, "the archive has no study with this accession number yet")
    if len(studies) > MOST_STUDIES:
        raise MalformedMessage("complete", notice.source, f"{len(studies)} studies have this accession number: it names none")
    # of which of several studies they are is not said
    promise: dict[str, object] = {} if len(studies) == 1 else {"instances": (), "instance_count": None}
    notices = (
        notice.model_copy(update={"id": identity("noticed", str(notice.id), study), "study_instance_uid": study, **promise})
        for study in studies
    )
    return [emit(NOTICES, one.key, one, record) for one in notices]


async def _there(study: StudyInstanceUID, notice: StudyNoticed, archive: StudyArchive) -> StudyDescription:
    """What the archive holds; nothing, when the source says that something was taken away and the archive knows no such study.
    One without the other is no proof: an archive that lost its index knows no study at all."""
    try:
        return await archive.describe(study)
    except StudyIncomplete:
        if not notice.removed:
            raise
        return StudyDescription(study, notice.accession_number, None, ())


def _check_promise(notice: StudyNoticed, there: StudyDescription) -> None:
    missing = len(set(notice.instances) - there.instances)
    if notice.instance_count is not None:
        missing = max(missing, notice.instance_count - len(there.instances))
    if missing > 0:
        raise StudyIncomplete("complete", f"study {notice.study_instance_uid}", f"{missing} instances are not in the archive yet")


def _promise(notice: StudyNoticed, record: Record) -> Outgoing:
    """Waited for by a notice of its own: what was taken away is told now. The study may be gone, so it is a hint."""
    promised = {"id": identity("promised", str(notice.id)), "removed": False, "hint": True}
    return emit(NOTICES, notice.key, notice.model_copy(update=promised), record)


def _counted_at(notice: StudyNoticed, record: Record) -> datetime:
    """Of a notice that waited, when it was taken up again: what it tells now is newer than what others of its source told
    meanwhile."""
    waited = notice.counted is not None or attempts_of(record) > 0
    return max(notice.time, record.timestamp) if waited else notice.time


def _digest(instances: Iterable[SOPInstanceUID]) -> str:
    return hashlib.sha256("\n".join(sorted(instances)).encode("ascii")).hexdigest()


def _count_id(notice: StudyNoticed, counted: str, at: datetime, quiet: timedelta) -> UUID:
    """The same for all that one source says of one count within a quiet time: an archive that tells of each image of a CT has it
    counted again once, not a thousand times. Of another quiet time it is another: what is said again and again puts off nothing."""
    said = (notice.key, notice.source, notice.source_ae_title or "", str(notice.hint), str(notice.instance_count))
    return identity("counted", *said, counted, str(at.timestamp() // max(quiet.total_seconds(), 1.0)))


def _after(record: Record, again: StudyNoticed, quiet: timedelta) -> Due:
    """Counted from the record's own time: the wall clock is not asked."""
    out = emit(NOTICES, again.key, again, record)
    due = Record(record.place, out.key, out.value, out.headers, record.timestamp)
    return Due(id=again.id, reason=QUIET, case=again.key, not_before=record.timestamp + quiet, step="complete", record=due)
