"""Objects in a folder, also when their writer is killed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from connectors.objects import Objects, in_folder
from schemas.errors import ObjectStoreUnavailable, SettingsInvalid
from tests.contract.object_store import ObjectStoreContract


class TestFolder(ObjectStoreContract):
    @pytest.fixture
    def objects(self, tmp_path: Path) -> Objects:
        return in_folder(tmp_path / "of" / "objects", timeout_s=20)


#: each object is called by its digest
_WRITER = """
import asyncio, hashlib, os, sys
from pathlib import Path
from connectors.objects import in_folder

async def write():
    objects = in_folder(Path(sys.argv[1]), timeout_s=20)
    while True:
        value = os.urandom(16) * 4_000_000
        name = f"images/{hashlib.sha256(value).hexdigest()}.png"
        await objects.put(name, value)

asyncio.run(write())
"""


async def test_a_writer_that_is_killed_leaves_whole_objects_alone(tmp_path: Path) -> None:
    objects = in_folder(tmp_path, timeout_s=20)
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path)])
        before = set(tmp_path.glob("images/*"))
        for _ in range(3):  # one was begun and is whole, the next was begun
            while (now := set(tmp_path.glob("images/*"))) <= before:
                assert writer.poll() is None
            before |= now
        writer.kill()
        writer.wait()
    whole = list(tmp_path.glob("images/*.png"))
    assert whole
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
