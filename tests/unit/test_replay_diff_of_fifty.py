"""Over fifty studies a diff names exactly those whose findings differ: checked against a loop over the JSON on both topics, which
knows nothing of how the diff matches findings."""

from __future__ import annotations

import json
import random
from itertools import permutations
from typing import Any

import pytest

from schemas.findings import NotAnalysedReason
from streams.replay import diffing
from streams.replay.changes import Tolerance
from streams.replay.diff_text import plain
from tests.contract.fake_event_log import FakeEventLog
from tests.contract.fake_history import FakeHistory
from tests.unit.replays import NAME, OTHER_MODEL, outgoing, said
from tests.unit.test_replay_diff_reading import MESSAGES, manifest

SANDBOX = f"sandbox.{NAME}.ai.results"
STUDIES, OTHERS = 50, 30


def box(drawn: random.Random) -> tuple[float, float, float, float]:
    return drawn.uniform(0, 2000), drawn.uniform(0, 1500), drawn.uniform(20, 90), drawn.uniform(20, 90)


def shaken(drawn: random.Random, places: list[tuple[float, float, float, float]]) -> list[tuple[float, float, float, float]]:
    """As another model may see them: most about where they were, some elsewhere, some missing, some new, in any order."""
    by = drawn.choice([0.0, 0.0, 0.5, 1.5, 2.5, 15.0])
    new = [(left + by, top, width, height) for left, top, width, height in places if drawn.random() < 0.95]
    new += [box(drawn)] * (drawn.random() < 0.1)
    drawn.shuffle(new)
    return new


async def filled(seed: int) -> FakeEventLog:
    """What was said live of more studies than were replayed, each in two states, and in the replay."""
    log, drawn = FakeEventLog("ai.results", SANDBOX, "radstream.audit"), random.Random(seed)
    live, now = [], []
    for number in range(1, STUDIES + OTHERS + 1):
        places, score = [box(drawn) for _ in range(drawn.randint(0, 3))], drawn.uniform(0.1, 0.9)
        none = NotAnalysedReason.WRONG_VIEW if drawn.random() < 0.05 else None
        live += [
            said(number, [box(drawn)], minutes=1),
            said(number, places, probability=score, sequence=32, minutes=2, reason=none),
        ]
        if number <= STUDIES:
            found, score = drawn.choice([0.9, 0.9, 0.9, 0.9005, 0.95]), score + drawn.choice([0.0, 0.0, 0.0, 5e-4, 0.05])
            other = shaken(drawn, places)
            states = [said(number, [box(drawn)], minutes=1)]
            states += [said(number, other, probability=score, found=found, sequence=32, minutes=2, reason=none, model=OTHER_MODEL)]
            now += [states[0], states[1]] if none is None else [states[0], live[-1]]
    drawn.shuffle(now)
    await log.append([outgoing(one) for one in live])
    await log.append([outgoing(one, SANDBOX) for one in now])
    return log


def last_of(log: FakeEventLog, topic: str) -> dict[str, dict[str, Any]]:
    last: dict[str, dict[str, Any]] = {}
    for record in log.records(topic):
        told = json.loads(record.value)
        study = told["subject"]["study_instance_uid"]
        if study not in last or last[study]["subject"]["sequence"] < told["subject"]["sequence"]:
            last[study] = told
    return last


def close(one: dict[str, Any], other: dict[str, Any]) -> bool:
    a, b = one["region"], other["region"]
    edges = [a["left"] - b["left"], a["top"] - b["top"]]
    edges += [a["left"] + a["width"] - b["left"] - b["width"], a["top"] + a["height"] - b["top"] - b["height"]]
    return max(map(abs, edges)) <= 2 and abs(one["probability"] - other["probability"]) <= 0.001


def the_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """There is a way to lay the findings of one on those of the other, and the score of the image is the same."""
    if one["not_analysed"] or other["not_analysed"]:
        return bool(one["not_analysed"] == other["not_analysed"])
    if abs(one["images"][0]["probability"] - other["images"][0]["probability"]) > 0.001:
        return False
    if len(one["findings"]) != len(other["findings"]) or not one["findings"]:
        presence = [said["images"][0]["probability"] >= said["threshold"] for said in (one, other)]
        return len(one["findings"]) == len(other["findings"]) and presence[0] == presence[1]
    orders = permutations(other["findings"])
    return any(all(close(a, b) for a, b in zip(one["findings"], order, strict=True)) for order in orders)


@pytest.mark.parametrize("seed", range(8))
async def test_exactly_those_whose_findings_differ_are_named(seed: int) -> None:
    log = await filled(seed)
    then, now = last_of(log, "ai.results"), last_of(log, SANDBOX)
    expected = {study for study in now if not the_same(then[study], now[study])}
    assert 10 < len(expected) < STUDIES - 10, "or it would show little"

    history, of = FakeHistory(log), manifest(*range(1, STUDIES + 1), span=MESSAGES)
    spans = await diffing.to_be_read(history, {NAME: [SANDBOX], "live": ["ai.results"]}, of)
    told = plain((await diffing.compared(history, of, None, NAME, None, spans, Tolerance())).diff)
    assert (told["compared"], told["not_comparable"]) == (STUDIES, 0)
    assert {one["study_instance_uid"] for one in told["studies"]} == expected
