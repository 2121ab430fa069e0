"""Objects in a folder, also when their writer is killed."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from connectors.objects import Objects, in_folder
from schemas.errors import ObjectStoreUnavailable, SettingsInvalid
from tests.contract.object_store import ObjectStoreContract


class TestFolder(ObjectStoreContract):
    @pytest.fixture
    def objects(self, tmp_path: Path) -> Objects:
        return in_folder(tmp_path / "of" / "objects", timeout_s=20)


#: says a name when its object is there; each is called by its digest
_WRITER = """
import asyncio, hashlib, os, sys
from pathlib import Path
from connectors.objects import in_folder

async def write():
    objects = in_folder(Path(sys.argv[1]), timeout_s=20)
    while True:
        value = os.urandom(4_000_000)
        name = f"images/{hashlib.sha256(value).hexdigest()}.png"
        await objects.put(name, value)
        print(name, flush=True)

asyncio.run(write())
"""


async def test_a_writer_that_is_killed_leaves_whole_objects_alone(tmp_path: Path) -> None:
    objects = in_folder(tmp_path, timeout_s=20)
    for round in range(5):
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.003 * round)  # somewhere inside the next one
        writer.send_signal(signal.SIGKILL)
        said = writer.stdout.read().split()
        writer.wait()
        assert all([await objects.holds(name) for name in said])
    whole = sorted(tmp_path.glob("images/*.png"))
    assert len(whole) >= 5
    for file in whole:
        value = await objects.get(f"images/{file.name}")
        assert value is not None
        assert hashlib.sha256(value).hexdigest() == file.stem


async def test_a_folder_that_cannot_be_written_is_a_store_that_is_away(tmp_path: Path) -> None:
    objects = in_folder(tmp_path, timeout_s=20)
    (tmp_path / "images").write_text("a file where a folder should be")
    with pytest.raises(ObjectStoreUnavailable) as caught:
        await objects.put("images/a.png", b"x")
    assert str(tmp_path) not in str(caught.value)


def test_a_folder_that_cannot_be_made() -> None:
    with pytest.raises(SettingsInvalid):
        in_folder(Path("/proc/objects"), timeout_s=20)
