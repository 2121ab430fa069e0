"""Whatever comes in whatever order and however often: the real FHIR server ends in the last state, and nothing live is left on a
wrong patient."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.case_store import SqlCaseStore
from connectors.fhir import FhirServer
from schemas.errors import Conflict
from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, WITHDRAWING, FindingKind, Findings, NotAnalysedReason, Subject
from schemas.identifiers import PatientIdentifier
from schemas.ports import Place, Record
from schemas.renderings.fhir.bundle import bundle_of
from schemas.renderings.fhir.envelope import ENTERED_IN_ERROR, open_bundle, sequence_of
from schemas.renderings.fhir.references import observation_ids, report_id
from streams import sequences
from streams.steps.deliver import deliver
from tests.contract.example_findings import (
    DEVICES,
    SITE,
    after_verification,
    devices_alone,
    finding,
    findings,
    not_analysed,
)
from tests.contract.report_store import Study

SERVICES = (CHEST_RADIOGRAPH_FINDINGS, DEVICES)
#: statuses of what a person would believe
LIVE = {"partial", "preliminary"}


@dataclass(frozen=True)
class History:
    """What was said of one study, in the order of its sequence; the order in which it is delivered (positions, some repeated); and
    when the case store is lost on the way, if it is."""

    states: tuple[Findings, ...]
    delivered: tuple[int, ...]
    lost_after: int | None

    def last(self, service: str) -> Findings | None:
        return next((state for state in reversed(self.states) if state.service == service), None)


class Telling:
    """Makes one state after the other, each of which is about whoever the patient is by then."""

    def __init__(self) -> None:
        self.study = Study()
        self.patient = PatientIdentifier(value="MRN-1", assigner="HOSPITAL")
        self.states: list[Findings] = []
        self._last = 0

    def say(self, what: str, service: str) -> None:
        if what == "merge":
            self.patient = PatientIdentifier(value=f"MRN-{len(self.states) + 2}", assigner="HOSPITAL")
        said = next((state for state in reversed(self.states) if state.service == service), None)
        self.states.append(self._state(what, service, said))

    def _state(self, what: str, service: str, said: Findings | None) -> Findings:
        if what == "correction" and said is not None and said.not_analysed is None and said.verified_at is None:
            about = self._about(said.subject.sequence + sequences.AFTER_VERIFICATION)
            if about.sequence > self._last:
                return after_verification(said.model_copy(update={"subject": about}))
        self._last = sequences.next_after(self._last)
        about = self._about(self._last)
        if what == "merge" and said is not None:  # the same, of another patient: the same analysis
            return said.model_copy(update={"subject": about})
        if what in ("cancel", "withdrawal", "late"):
            reason = {"cancel": NotAnalysedReason.ORDER_CANCELLED, "late": NotAnalysedReason.LATE}
            return not_analysed(reason.get(what, NotAnalysedReason.IDENTITY_MISMATCH), about, analysis_id=uuid4(), service=service)
        if service == DEVICES:
            return devices_alone(about)
        kinds = [FindingKind.NODULE, FindingKind.MASS][: len(self.states) % 3]
        return findings(about, *(finding(number, kind) for number, kind in enumerate(kinds, start=1)))

    def _about(self, sequence: int) -> Subject:
        return self.study.subject(sequence).model_copy(update={"patient": self.patient})


@st.composite
def histories(draw: st.DrawFn) -> History:
    telling = Telling()
    words = st.sampled_from(["result", "result", "cancel", "merge", "correction", "withdrawal", "late"])
    for what, service in draw(st.lists(st.tuples(words, st.sampled_from(SERVICES)), min_size=2, max_size=6)):
        telling.say(what, service)
    every = range(len(telling.states))
    delivered = draw(st.permutations([*every, *draw(st.lists(st.sampled_from(every), max_size=3))]))
    lost_after = draw(st.none() | st.integers(min_value=1, max_value=len(delivered) - 1))
    return History(tuple(telling.states), tuple(delivered), lost_after)


async def _deliver(history: History, server: FhirServer, folder: Path) -> None:
    numbers = itertools.count()
    stores = [SqlCaseStore(f"sqlite:///{folder / f'{uuid4()}.db'}")]
    for position, index in enumerate(history.delivered):
        if position == history.lost_after:
            stores.append(SqlCaseStore(f"sqlite:///{folder / f'{uuid4()}.db'}"))
        state = history.states[index]
        study = state.subject.study_instance_uid.encode()
        value = bundle_of(state, SITE)
        record = Record(Place("ai.findings", 0, next(numbers)), study, value, (), datetime(2026, 11, 24, 9, tzinfo=UTC))
        try:
            await deliver(record, destination="fhir", store=server, cases=stores[-1])
        except Conflict:  # an older state, of which the new store does not know that a later one was delivered: parked
            assert history.lost_after is not None
    for store in stores:
        await store.close()


async def _check(history: History, server: FhirServer) -> None:
    for service in SERVICES:
        last = history.last(service)
        study = history.states[0].subject.study_instance_uid
        report = await server.read(f"DiagnosticReport/{report_id(study, SITE, service)}")
        if last is None:
            assert report is None
            continue
        assert report is not None
        envelope = open_bundle(bundle_of(last, SITE))
        assert _told(report) == _told(envelope.report)
        assert sequence_of(report) == last.subject.sequence
        said = {str(id) for id in observation_ids(last)}
        assert {result["reference"].removeprefix("Observation/") for result in report["result"]} == said
        for id in {str(id) for state in history.states if state.service == service for id in observation_ids(state)}:
            observation = await server.read(f"Observation/{id}")
            if id in said:
                assert observation is not None
                (expected,) = (one for one in envelope.resources if one["id"] == id)
                assert _told(observation) == _told(expected)
            else:  # never told, or withdrawn
                assert observation is None or observation["status"] == ENTERED_IN_ERROR


def _told(resource: dict[str, Any]) -> dict[str, Any]:
    """What does not differ between what was sent and what a server keeps."""
    return {
        name: resource.get(name) for name in ("status", "subject", "issued", "conclusion", "code", "valueCodeableConcept", "note")
    }


async def _nothing_live_is_of_another_patient(history: History, server: FhirServer) -> None:
    """Over all that was ever said: who believes what is live there believes it of whom it is."""
    for state in history.states:
        last = history.last(state.service)
        assert last is not None
        names = [f"Observation/{id}" for id in observation_ids(state)]
        names.append(f"DiagnosticReport/{report_id(state.subject.study_instance_uid, SITE, state.service)}")
        for name in names:
            resource = await server.read(name)
            if resource is not None and resource["status"] in LIVE:
                assert last.not_analysed is None or last.not_analysed.reason not in WITHDRAWING
                assert last.subject.patient is not None
                assert resource["subject"]["identifier"]["value"] == last.subject.patient.value


@pytest.mark.service
def test_the_server_ends_in_the_last_state(fhir_url: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("cases")

    async def told(history: History) -> None:
        server = FhirServer(fhir_url, timeout_s=20)
        try:
            await _deliver(history, server, folder)
            await _check(history, server)
            await _nothing_live_is_of_another_patient(history, server)
        finally:
            await server.close()

    @settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
    @given(histories())
    def on_every_history(history: History) -> None:
        asyncio.run(told(history))

    on_every_history()
