"""The receiver's process is killed between the two messages of a procedure step; and what such a process prints."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom.config import disable_value_validation

from schemas.notices import StudyNoticed
from tests.unit.dimse_peer import IAN, MPPS, NAME, Caller, change, notification, step

pytestmark = pytest.mark.service
STUDY, UID = "1.2.840.9999", "1.2.840.1"
ENDED_S = 20


class Process:
    def __init__(self, database: Path, errors: Path) -> None:
        command = [sys.executable, "-m", "tests.service.dimse_process", f"sqlite:///{database}"]
        with errors.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        self.port = int(self.line())

    def line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate(timeout=ENDED_S)


@contextmanager
def process(folder: Path) -> Iterator[Process]:
    running = Process(folder / "cases.db", folder / "errors")
    try:
        yield running
    finally:
        running.kill()


async def test_a_step_begun_before_the_kill_is_understood_after_it(tmp_path: Path) -> None:
    with process(tmp_path) as before:
        assert (await Caller(before.port).create(MPPS, UID, step(STUDY))).Status == 0
        assert (await Caller(before.port).set(UID, change(None, one=["1.2.1"]))).Status == 0
    with process(tmp_path) as after:
        assert (await Caller(after.port).set(UID, change(bb=["1.2.2"]))).Status == 0
        notice = StudyNoticed.model_validate_json(after.line())
    assert (notice.study_instance_uid, notice.instances, notice.source_ae_title) == (STUDY, ("1.2.1", "1.2.2"), "CR1")


@pytest.mark.filterwarnings("ignore:Unknown encoding")  # of the one who sends it
async def test_no_log_holds_what_was_sent(tmp_path: Path) -> None:
    """At level DEBUG, with warnings, and with messages and PDUs that are wrong in every layer."""
    with disable_value_validation():
        wrong = step(NAME, status=NAME, SOPInstanceUID=NAME)
        wrong.SpecificCharacterSet = "NOWHERE"
    with process(tmp_path) as running:
        caller = Caller(running.port)
        for data_set in (step(STUDY), wrong):
            await caller.create(MPPS, UID, data_set)
        assert running.line().startswith("dicom: N-CREATE 1.2.840.1: Performed Procedure Step Status")
        await caller.set(UID, change(one=["1.2.1"]))
        assert STUDY in running.line()
        await caller.create(IAN, "1.2.840.2", notification(STUDY, {"1.2.1": "ONLINE"}))
        assert STUDY in running.line()
        for sent in (
            NAME.encode(),
            b"\x01\x00\x00\x00\x00\x44\x00\x01\x00\x00" + b"\xff" * 64,
            b"\x04\x00\x00\x00\x00\x10" + NAME.encode(),
        ):
            with socket.create_connection(("127.0.0.1", running.port)) as peer:
                peer.sendall(sent)
                peer.shutdown(socket.SHUT_WR)
                peer.settimeout(ENDED_S)
                while peer.recv(1024):
                    pass
        assert (await caller.echo()).Status == 0
    printed = (tmp_path / "errors").read_text()
    assert "DEBUG:asyncio" in printed, "the log is on"
    for private in ("Mustermann", "4711", STUDY, "NOWHERE", "1.2.3.3"):
        assert private not in printed
