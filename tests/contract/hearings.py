"""What every case store must keep of answers, reports, recalled models and discrepancies."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import uuid5

import pytest

from connectors.case_store import SqlCaseStore
from schemas.case_store import CaseStore
from schemas.events import OrderEvent, ReportAmended, ReportDrafted, ReportSigned
from schemas.findings import ModelIdentity, NotAnalysedReason, Subject
from schemas.hearings import BEFORE_HEARING, Discrepancy, Heard
from schemas.identifiers import NAMESPACE, AccessionNumber, StudyInstanceUID
from schemas.ports import Place
from streams.linking import reference_of
from tests.contract.example_findings import MODEL, subject, two_findings
from tests.unit.answers import answer_to, record, result
from tests.unit.cases import Hospital, minutes, order, reason, recall, report, said, study

STUDY = StudyInstanceUID("1.2.3")
OTHER = StudyInstanceUID("1.2.4")
VERSION_1 = ("chest-nodule", "1.0")


def spoken(
    study: StudyInstanceUID = STUDY,
    sequence: int = 4,
    *,
    service: str = "usual",
    analysis: str = "a",
    value: bytes = b"\x00first",
    model: tuple[str, str] | None = VERSION_1,
) -> Heard:
    return Heard(study, service, sequence, uuid5(NAMESPACE, analysis), value, minutes(1), model)


def about(accession: AccessionNumber | None, *orders: OrderEvent) -> Subject:
    """A study of these orders."""
    references = tuple(reference_of(one) for one in orders)
    return subject(orders=references).model_copy(update={"accession_number": accession})


def opened(name: str, study: StudyInstanceUID = STUDY, sequence: int = 5) -> Discrepancy:
    return Discrepancy(uuid5(NAMESPACE, name), study, "usual", uuid5(NAMESPACE, "a"), sequence, name.encode())


class HearingsContract:
    """For a class that gives `url`, `store` and `other`."""

    async def test_reports_come_back_as_they_were_put_by_any_of_their_numbers(self, store: CaseStore) -> None:
        drafted = report(ReportDrafted, placer="P9", accession="A1", at=1)
        signed = report(ReportSigned, filler="F1", at=2)
        # the same bytes, but not the same word
        amended = ReportAmended(**dict(signed))
        by_placer = report(ReportSigned, placer="P1", at=3)
        for event in (drafted, signed, amended, signed, report(ReportSigned, placer="P2", accession="A2"), by_placer):
            async with store.correlation("a") as rows:
                await rows.put_report(event)
        accession = AccessionNumber(value="A1", assigner="RIS")
        async with store.correlation("a") as rows:
            assert await rows.reports_of(about(accession)) == [drafted]
            assert await rows.reports_of(about(None, order(accession="A1"))) == [drafted]
            found = await rows.reports_of(about(accession, order(filler="F1")))
            assert found == [drafted, signed, amended]
            assert [type(one) for one in found] == [ReportDrafted, ReportSigned, ReportAmended]
            assert await rows.reports_of(about(None, order(placer="P1"))) == [by_placer]
            assert await rows.reports_of(about(None, order(placer="P7"), order(placer="P1", filler="F1"))) == [
                signed,
                amended,
                by_placer,
            ]
            assert await rows.reports_of(about(accession.model_copy(update={"assigner": "OTHER"}))) == []
            assert await rows.reports_of(about(None)) == []

    async def test_of_reports_that_share_a_placer_number_only_those_that_may_be_of_the_study(self, store: CaseStore) -> None:
        """Some senders write a constant there: none of the thousands is read with every answer."""
        mine = report(ReportSigned, placer="P1", filler="F1", accession="F1")  # the filler number stands for it
        without = report(ReportSigned, placer="P1", at=1)
        others = [
            report(ReportSigned, placer="P1", filler="F2", accession="F2"),
            report(ReportSigned, placer="P1", filler="F3", accession="A3"),
            report(ReportSigned, placer="P1", accession="A4"),
            report(ReportSigned, filler="F1", accession="A5"),
        ]
        async with store.correlation("a") as rows:
            for event in (mine, *others, without):
                await rows.put_report(event)
            assert await rows.reports_of(about(None, order(placer="P1", filler="F1", accession="A1"))) == [mine, without]
            # the order has no filler number that could contradict theirs
            assert await rows.reports_of(about(None, order(placer="P1"))) == [mine, others[0], without]

    async def test_what_was_heard_first_is_kept(self, store: CaseStore, other: CaseStore) -> None:
        first = replace(spoken(), place=Place("ai.results", 2, 2**40), traceparent="00-" + "a" * 32)
        async with store.correlation("a") as rows:
            assert await rows.put_heard(first) == first
        again = replace(spoken(), value=b"other bytes", came_at=minutes(99), verified_at=minutes(98))
        async with other.correlation("a") as rows:
            assert await rows.put_heard(again) == first
            assert await rows.heard_of(STUDY) == [first]
            assert await rows.heard_of(OTHER) == []

    async def test_all_that_was_heard_of_a_study_by_service_and_sequence(self, store: CaseStore) -> None:
        usual = [spoken(sequence=4), spoken(sequence=8, model=None), spoken(sequence=12), spoken(sequence=12, analysis="b")]
        devices = spoken(sequence=4, service="devices", analysis="c")
        async with store.correlation("a") as rows:
            for one in (usual[2], usual[0], devices, usual[1], usual[3], spoken(OTHER)):
                await rows.put_heard(one)
            devices_first, *rest = await rows.heard_of(STUDY)
        assert devices_first == devices
        assert [one.sequence for one in rest] == [4, 8, 12, 12]
        assert sorted(rest, key=usual.index) == usual

    async def test_a_mark_stays_as_it_was_set_first(self, store: CaseStore) -> None:
        one, because = spoken(), uuid5(NAMESPACE, "report")
        marked = replace(one, verified_at=minutes(0.5) + timedelta(microseconds=1), because=because)
        async with store.correlation("a") as rows:
            await rows.put_heard(one)
            await rows.put_heard(spoken(sequence=8))
            await rows.mark_heard(marked)
        async with store.correlation("a") as rows:
            await rows.mark_heard(replace(one, verified_at=minutes(77)))
            assert await rows.put_heard(one) == marked
            assert [each.verified_at for each in await rows.heard_of(STUDY)] == [marked.verified_at, None]

    async def test_a_version_of_a_model_is_recalled_once(self, store: CaseStore) -> None:
        first = recall("chest-nodule", "1.0", at=1)
        async with store.correlation("a") as rows:
            assert await rows.recalled("chest-nodule", "1.0") is None
            assert await rows.put_recalled(first) == first
        async with store.correlation("a") as rows:
            assert await rows.put_recalled(recall("chest-nodule", "1.0", at=2)) == first
            assert await rows.recalled("chest-nodule", "1.0") == first
            assert await rows.recalled("chest-nodule", "1.1") is None
            assert await rows.recalled("chest", "1.0") is None

    async def test_the_studies_of_which_a_model_spoke_page_by_page(self, store: CaseStore) -> None:
        uids = [StudyInstanceUID(f"1.2.{number}") for number in range(25)]
        async with store.correlation("a") as rows:
            for uid in uids:
                await rows.put_heard(spoken(uid))
                await rows.put_heard(spoken(uid, 8, analysis="later"))
                await rows.put_heard(spoken(uid, 12, model=("chest-nodule", "2.0")))
            await rows.put_heard(spoken(StudyInstanceUID("1.3"), model=None))
            found: list[StudyInstanceUID] = []
            while page := await rows.studies_heard_from("chest-nodule", "1.0", found[-1] if found else "", 10):
                assert len(page) <= 10
                found += page
        assert sorted(found) == sorted(uids)
        assert len(found) == len(uids)

    @pytest.mark.parametrize("known_before", [True, False])
    async def test_discrepancies(self, store: CaseStore, known_before: bool) -> None:
        one, two, elsewhere = opened("one"), opened("two"), opened("elsewhere", OTHER)
        async with store.correlation("a") as rows:
            if not known_before:
                await rows.put_acknowledged(one.discrepancy_id)
            for each in (one, two, elsewhere):
                await rows.put_discrepancy(each)
            if known_before:
                for _ in range(2):
                    await rows.put_acknowledged(one.discrepancy_id)
        withdrawn = replace(two, sequence=9, event=b"again", withdrawn_by=uuid5(NAMESPACE, "w"), withdrawn_sequence=12)
        async with store.correlation("a") as rows:
            await rows.put_discrepancy(withdrawn)
            await rows.put_discrepancy(one)
            expected = sorted((replace(one, acknowledged=True), withdrawn), key=lambda each: str(each.discrepancy_id))
            assert await rows.discrepancies_of(STUDY) == expected
            assert await rows.discrepancies_of(OTHER) == [elsewhere]

    async def test_a_database_made_before_answers_were_heard(self, url: str, store: CaseStore) -> None:
        """A recall finds what was said then; no report marks it."""
        first = SqlCaseStore(url)
        answers = [two_findings(subject(number, study=StudyInstanceUID(f"1.2.{number}"))) for number in range(1, 4)]
        for answer in answers:
            await first.put_analysis(answer.analysis_id, answer.model_dump_json().encode())
        await first.put_analysis(uuid5(NAMESPACE, "broken"), b"{")
        await first._database.write(lambda connection: connection.exec_driver_sql("DROP TABLE heard"))
        await first.close()
        async with store.correlation("a") as rows:
            assert len(await rows.studies_heard_from(MODEL.name, MODEL.version, "", 10)) == len(answers)
            (found,) = await rows.heard_of(StudyInstanceUID("1.2.2"))
        assert found.value == answers[1].model_dump_json().encode()
        assert (found.sequence, found.analysis_id, found.verified_at) == (2, answers[1].analysis_id, None)
        assert (found.came_at, found.record) == (BEFORE_HEARING, None)

    async def test_an_answer_the_report_and_the_recall_at_the_same_moment(self, url: str) -> None:
        """Whoever comes last sees what the other wrote, though the report does not know at first of which study it is."""
        stores = [SqlCaseStore(url) for _ in range(3)]
        here, there, elsewhere = map(Hospital, stores)
        for number in range(15):
            of = ModelIdentity(name="chest-nodule", version=str(number), weights_sha256="a" * 64)
            await here.happens(order(placer=f"P{number}", accession=f"A{number}"))
            (request,) = await here.happens(study(f"1.2.{number + 1}", accession=f"A{number}", at=1))
            answer = record(result(answer_to(request).model_copy(update={"model": of})), number, at=3)
            # by the order's number alone; by the answer's model alone
            signed = report(ReportSigned, placer=f"P{number}", at=2)
            by_report = await asyncio.gather(here.reads(answer), there.happens(signed))
            marked = {out.value for outs in by_report for out in outs if out.topic == "ai.results"}
            assert len(marked) == 1
            (again,) = await here.happens(study(f"1.2.{number + 1}", accession=f"A{number}", at=4, images=2))
            second = record(result(answer_to(again).model_copy(update={"model": of})), number, at=5)
            by_answer, _ = await asyncio.gather(here.reads(second), elsewhere.happens(recall(of.name, of.version)))
            outs = [said(out) for out in (*by_answer, *await here.time_passes(5)) if out.topic == "ai.results"]
            assert NotAnalysedReason.MODEL_RECALLED in map(reason, outs)
        for store in stores:
            await store.close()
