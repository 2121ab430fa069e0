"""A FHIR Bundle in Traditional Chinese: words that people read, and nothing else, are other ones."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from schemas.findings import NotAnalysedReason
from schemas.renderings.fhir.bundle import bundle_of
from schemas.renderings.labels import disclaimer
from tests.contract.example_findings import (
    SITE,
    after_verification,
    devices_alone,
    every_state,
    findings,
    not_analysed,
    two_findings,
)
from tests.unit.fhir_bundles import report, resources

CHINESE = replace(SITE, language="zh-TW")


@pytest.mark.parametrize("name", every_state())
def test_in_chinese_only_words_differ(name: str) -> None:
    """Codes, values, references and ids are the same; the conclusion and the texts of concepts are what people read."""
    of = every_state()[name]
    english, chinese = (json.loads(bundle_of(of, site)) for site in (SITE, CHINESE))
    assert report(of, CHINESE)["language"] == "zh-TW"
    assert "language" not in report(of)
    assert disclaimer("zh-TW") in report(of, CHINESE)["conclusion"]
    assert _without_words(chinese) == _without_words(english)


def _without_words(node: Any) -> Any:
    if isinstance(node, dict):
        return {name: _without_words(value) for name, value in node.items() if name not in ("text", "conclusion", "language")}
    return [_without_words(item) for item in node] if isinstance(node, list) else node


def test_chinese_words() -> None:
    root, nodule, mass = resources(two_findings(), "Observation", CHINESE)
    assert root["valueCodeableConcept"]["text"] == "有"
    assert (nodule["code"]["text"], mass["code"]["text"]) == ("肺結節", "肺部腫塊")
    _, tube, _, pacemaker = resources(devices_alone(), "Observation", CHINESE)
    assert (tube["code"]["text"], pacemaker["code"]["text"]) == ("氣管內管", "心律調節器")
    (cancelled,) = resources(not_analysed(NotAnalysedReason.ORDER_CANCELLED), "Observation", CHINESE)
    assert cancelled["dataAbsentReason"]["text"] == "AI 未分析：醫囑已取消"
    marked = after_verification(findings())
    assert report(marked, CHINESE)["conclusion"].startswith("確認後：放射科醫師先前已確認報告")
    assert "確認後" in resources(marked, "Observation", CHINESE)[0]["note"][0]["text"]


def test_in_chinese_no_finding_is_cut_from_the_conclusion() -> None:
    of = every_state()["many-findings"]
    said = report(of, CHINESE)["conclusion"]
    assert said.count("肺結節") == said.count("肺部腫塊") == 6
