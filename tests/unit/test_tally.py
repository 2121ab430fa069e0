"""Counts of what was refused, on file, and one alarm per sender."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from streams.tally import _TOLD_APART, Tally, read_tallies


class Watch:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_counts_are_read_back(tmp_path: Path) -> None:
    watch = Watch()
    tally = Tally(tmp_path, "work-normalise", watch)
    assert read_tallies(tmp_path) == {"work-normalise": {"not used": {}, "rejected": {}, "garbage": {}}}
    for _ in range(2):
        watch.now += 2
        tally.not_used("ADT^A60")
    watch.now += 2
    tally.rejected("RIS|H", "MissingIdentifier")
    watch.now += 2
    tally.garbage("10.0.0.1", "bytes outside a frame")
    assert read_tallies(tmp_path)["work-normalise"] == {
        "not used": {"ADT^A60": {"": 2}},
        "rejected": {"RIS|H": {"MissingIdentifier": 1}},
        "garbage": {"10.0.0.1": {"bytes outside a frame": 1}},
    }


async def test_the_file_is_written_at_most_once_a_second_and_the_last_count_gets_there(tmp_path: Path) -> None:
    tally = Tally(tmp_path, "listen")
    for _ in range(1000):
        tally.not_used("ADT^A60")
    assert read_tallies(tmp_path)["listen"]["not used"] == {}
    async with asyncio.timeout(20):
        while read_tallies(tmp_path)["listen"]["not used"] != {"ADT^A60": {"": 1000}}:
            await asyncio.sleep(0.05)


async def test_the_first_refusal_of_a_sender_is_an_alarm_then_one_a_minute(tmp_path: Path) -> None:
    watch = Watch()
    tally = Tally(tmp_path, "work-normalise", watch)
    with structlog.testing.capture_logs() as lines:
        for _ in range(120):
            tally.rejected("RIS|H", "MalformedMessage")
            watch.now += 1
        tally.rejected("OTHER|H", "MissingIdentifier")
        tally.garbage("10.0.0.1", "bytes outside a frame")
    told = [(line["log_level"], line["event"], line["sender"], line["refused_so_far"]) for line in lines]
    assert told == [
        ("error", "alarm", "RIS|H", 1),
        ("error", "alarm", "RIS|H", 61),
        ("error", "alarm", "OTHER|H", 1),
        ("error", "alarm", "10.0.0.1", 1),
    ]


async def test_ever_new_senders_cost_no_memory(tmp_path: Path) -> None:
    watch = Watch()
    tally = Tally(tmp_path, "listen", watch)
    for number in range(_TOLD_APART + 50):
        watch.now += 0.001
        tally.rejected(f"SENDER{number}|" + "x" * 5000, "MalformedMessage")
    tally.rejected("ONE MORE|H", "MalformedMessage")
    tally._write()
    counted = read_tallies(tmp_path)["listen"]["rejected"]
    assert len(counted) == _TOLD_APART + 1
    assert counted["others"] == {"MalformedMessage": 51}
    assert max(map(len, counted)) <= 200


def test_a_full_disk_costs_the_count_alone(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    with structlog.testing.capture_logs() as lines:
        Tally(folder, "listen")
    assert [line["event"] for line in lines] == ["the tally is not written"]
