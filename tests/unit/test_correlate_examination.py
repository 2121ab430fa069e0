"""Which examination was ordered, in LOINC: what reports are coded with."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schemas.findings import Examination
from tests.unit.cases import Hospital, order, said, study

CHEST = Examination(loinc="36643-5", text="Chest 2 views")


@pytest.mark.parametrize(
    ("code", "system", "found"),
    [("36643-5", "LN", CHEST), ("CXR2", "99HIS", CHEST), ("CXR2", None, CHEST), ("CT1", "99HIS", None), ("no number", "LN", None)],
)
async def test_of_one_order(hospital: Hospital, code: str, system: str | None, found: Examination | None) -> None:
    hospital.policy = replace(hospital.policy, examinations={"CXR2": CHEST.loinc})
    told = {"service_code": code, "service_text": CHEST.text, "service_coding_system": system}
    await hospital.happens(order(placer="P1", accession="A1").model_copy(update=told))
    (out,) = await hospital.happens(study(at=1))
    assert said(out).subject.examination == found


@pytest.mark.parametrize(("other", "found"), [("36643-5", CHEST), ("24627-2", None)])
async def test_of_two_orders_only_what_both_say(hospital: Hospital, other: str, found: Examination | None) -> None:
    for number, code in enumerate(("36643-5", other)):
        told = {"service_code": code, "service_text": CHEST.text, "service_coding_system": "LN"}
        await hospital.happens(order(placer=f"P{number}", accession="A1").model_copy(update=told))
    (out,) = await hospital.happens(study(at=1))
    assert said(out).subject.examination == found


async def test_another_name_of_the_examination_asks_for_no_second_analysis(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A1"))
    (out,) = await hospital.happens(study(at=1))
    named = {"service_code": CHEST.loinc, "service_coding_system": "LN"}
    (again,) = await hospital.happens(order(placer="P1", accession="A1", at=2).model_copy(update=named))
    assert again.value == out.value
