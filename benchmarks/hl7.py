"""Reading HL7 v2: messages per CPU second of one core, beside hl7apy, python-hl7 and a floor.

    .venv/bin/python benchmarks/hl7.py [--rounds 7] [--seconds 0.5]

A 1 KB ORM^O01 and a 4 KB ORU^R01. Ours, bytes decoded by MSH-18: *fields* hands out every field of every segment as sent,
*values* takes each apart and decodes its first value. The peers parse (both split everything at once) and are asked for nothing.
The floor splits lines and fields of the decoded text and does nothing else. *Event as JSON* is the step `normalise`: from the
bytes of the record to that of `imaging.orders` or `imaging.reports`, with identifiers validated, ids and headers made. Rounds
are interleaved; medians.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message
from rich.console import Console
from rich.progress import track
from rich.table import Table

from schemas.hl7v2.message import Message
from schemas.hl7v2.site import Site
from schemas.ports import Place, Record
from streams.steps.normalise import normalise

MSH = "MSH|^~\\&|HIS|HOSPITAL|RADSTREAM|RADIOLOGY|20260101120000.1234+0100||{}|BENCH-0000001|P|2.5.1|||AL|NE||UNICODE UTF-8"
PATIENT = (
    "PID|1||4711-0815^^^MPI^MR~93 2041^^^ADT^PI||Müller^Hans-Peter^^^Dr.^^L||19500101|M"
    "|||Hauptstraße 1^^Köln^^50667^DE^H||+49 221 5550100|||M||V-2026-01\r"
    "PV1|1|O|RAD^^^HOSPITAL||||1234^House^Gregory^^^Dr.|||||||||||V-2026-01|||||||||||||||||||||||||20260101115500"
)
OBR = "OBR|1|PL-0001^HIS|FI-0001^RIS|36554-4^Chest X-ray, 1 view^LN|||20260101130000|||||||||1234^House^Gregory||ACC-0001"
ORM = "\r".join((
    MSH.format("ORM^O01^ORM_O01"), PATIENT,
    "ORC|NW|PL-0001^HIS|FI-0001^RIS||SC||^^^20260101130000^^R||20260101115900|u1^User^One||1234^House^Gregory^^^Dr.|||||RAD^Radiology",
    f"{OBR}|RP-0001|SPS-0001||||DX|||^^^20260101130000^^R|||WALK|Cough \\T\\ fever since 3 days",
    "OBX|1|NM|8302-2^Body height^LN||172|cm|||||F",
    "OBX|2|NM|29463-7^Body weight^LN||70.5|kg|||||F",
    "NTE|1||please compare with the film of last year",
    "NTE|2||cannot stand: portable film on the ward, second floor, bed 12; call 4711 before",
    "ZDS|1.2.840.113619.2.55.3.604688119.969.1^^Application^DICOM", "",
)).encode()  # fmt: skip
LINES = (
    "The cardiomediastinal silhouette is within normal limits \\T\\ unchanged.",
    "No focal consolidation, pleural effusion or pneumothorax is seen.",
    "",
    "Degenerative changes of the thoracic spine; no acute fracture.",
)
ORU = "\r".join((
    MSH.format("ORU^R01^ORU_R01"), PATIENT,
    "ORC|RE|PL-0001^HIS|FI-0001^RIS||CM",
    f"{OBR}||||20260101140000||DX|F",
    *(f"OBX|{n}|TX|36554-4&{'IMP' if n > 24 else 'GDT'}^Chest X-ray^LN|1|{LINES[n % 4]}||||||F" for n in range(1, 36)),
    "ZDS|1.2.840.113619.2.55.3.604688119.969.1^^Application^DICOM", "",
)).encode()  # fmt: skip
MESSAGES = {"ORM^O01": ORM, "ORU^R01": ORU}

SITE = Site(default_assigner="HOSPITAL")
WHEN = datetime(2026, 1, 1, 12, tzinfo=UTC)
console = Console(stderr=True)


def read_fields(data: bytes) -> int:
    """Ours, every field as it was sent."""
    return sum(len(segment.fields) for segment in Message.parse(data).segments)


def read_values(data: bytes) -> int:
    """Ours, the first value of every field, decoded."""
    held = 0
    for segment in Message.parse(data).segments:
        for number in range(1, len(segment.fields)):
            held += len(segment.value(number))
    return held


def as_json(data: bytes) -> bytes:
    """The step, driven without an event loop: it awaits nothing."""
    step = normalise(Record(Place("hl7.v2.raw", 0, 0), None, data, (), WHEN), site=SITE)
    try:
        step.send(None)
    except StopIteration as ended:
        outgoing, *_ = ended.value  # the notice of a study may stand behind it
        return bytes(outgoing.value)
    finally:
        step.close()
    raise AssertionError("the step waits for something")


def with_hl7apy(data: bytes) -> None:
    parse_message(data.decode(), validation_level=VALIDATION_LEVEL.TOLERANT)


def _python_hl7() -> ModuleType:
    """Its package is called as this file is, whose folder comes first on the path of a script."""
    here, sys.path[:] = list(sys.path), [folder for folder in sys.path if Path(folder).resolve() != Path(__file__).resolve().parent]
    try:
        return importlib.import_module("hl7")
    finally:
        sys.path[:] = here


python_hl7 = _python_hl7()


def with_python_hl7(data: bytes) -> None:
    python_hl7.parse(data, encoding="utf-8")


def floor(data: bytes) -> None:
    for line in data.decode().split("\r"):
        line.split("|")


CONTESTANTS: dict[str, Callable[[bytes], object]] = {
    "floor: str.split": floor,
    "radstream: fields": read_fields,
    "radstream: values": read_values,
    "radstream: event as JSON": as_json,
    "python-hl7": with_python_hl7,
    "hl7apy": with_hl7apy,
}


def rate(work: Callable[[bytes], object], data: bytes, seconds: float) -> float:
    """Messages per CPU second of this process."""
    done, begun = 0, time.process_time()
    while (spent := time.process_time() - begun) < seconds:
        for _ in range(10):
            work(data)
        done += 10
    return done / spent


def checked() -> None:
    """Each contestant reads the same: what is timed is no failure."""
    assert Message.parse(ORM).segments[4].value(31) == "Cough & fever since 3 days"
    assert json.loads(as_json(ORM))["accession_number"] == {"value": "ACC-0001", "assigner": "HOSPITAL"}
    assert len(json.loads(as_json(ORU))["text"]) > 1500
    assert str(python_hl7.parse(ORM, encoding="utf-8").segment("OBR")[18]) == "ACC-0001"
    assert parse_message(ORU.decode()).ORU_R01_PATIENT_RESULT.ORU_R01_ORDER_OBSERVATION.OBR.OBR_18.to_er7() == "ACC-0001"


def run(rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    """Of each message, the median of each contestant."""
    checked()
    for work in CONTESTANTS.values():
        for data in MESSAGES.values():
            work(data)  # imports and caches
    found: dict[str, dict[str, list[float]]] = {kind: {name: [] for name in CONTESTANTS} for kind in MESSAGES}
    for _ in track(range(rounds), description="rounds", console=console):
        for kind, data in MESSAGES.items():
            for name, work in CONTESTANTS.items():
                found[kind][name].append(rate(work, data, seconds))
    return {kind: {name: statistics.median(rates) for name, rates in those.items()} for kind, those in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5, help="CPU seconds of each measurement")
    parser.add_argument("--json", type=Path, default=Path("var/benchmarks/hl7.json"))
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)  # the peers' own lines
    medians = run(arguments.rounds, arguments.seconds)
    sizes = {kind: len(data) for kind, data in MESSAGES.items()}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    result = {"bytes": sizes, "messages_per_cpu_second": medians, "rounds": arguments.rounds, "seconds": arguments.seconds}
    arguments.json.write_text(json.dumps(result, indent=2) + "\n")

    table = Table(title=f"messages per CPU second, median of {arguments.rounds} interleaved rounds")
    table.add_column("", no_wrap=True)
    for kind, size in sizes.items():
        table.add_column(f"{kind}, {size / 1000:.1f} KB", justify="right", no_wrap=True)
        table.add_column("x python-hl7", justify="right", no_wrap=True)
    for name in CONTESTANTS:
        cells = []
        for kind in MESSAGES:
            cells += [f"{medians[kind][name]:,.0f}", f"{medians[kind][name] / medians[kind]['python-hl7']:.2f}"]
        table.add_row(name, *cells)
    Console(stderr=True, width=110).print(table)


if __name__ == "__main__":
    main()
