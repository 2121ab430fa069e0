"""Packages by reference, in a folder and on an object store: whole, the store's own, or a sentence that says why not."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from pathlib import Path

import pytest
import structlog

from connectors.objects import Objects, in_folder, in_memory
from schemas.errors import ModelFailed, ObjectStoreUnavailable, SettingsInvalid
from streams.model_store import CopiedPackages, PackageFolder, PackageStore

WEIGHTS = b"weights" * 1000


def card_of(weights: bytes = WEIGHTS, *, file: str = "weights.safetensors", part: str = "weights", more: str = "") -> bytes:
    return f'name = "a"\n{more}\n[{part}]\nfile = "{file}"\nsha256 = "{hashlib.sha256(weights).hexdigest()}"\n'.encode()


async def stored(objects: Objects, reference: str = "nodules/1", card: bytes | None = None, weights: bytes = WEIGHTS) -> None:
    await objects.put(f"{reference}/card.toml", card or card_of(weights))
    await objects.put(f"{reference}/weights.safetensors", weights)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def objects() -> Objects:
    return in_memory()


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    return tmp_path / "var" / "models"


class Away:
    """An object store that does not answer."""

    async def put(self, name: str, value: bytes) -> None:
        raise ObjectStoreUnavailable("objects", name, "does not answer")

    async def get(self, name: str) -> bytes | None:
        raise ObjectStoreUnavailable("objects", name, "does not answer")

    async def holds(self, name: str) -> bool:
        raise ObjectStoreUnavailable("objects", name, "does not answer")

    async def names(self, folder: str = "") -> list[str]:
        raise ObjectStoreUnavailable("objects", folder, "does not answer")


@pytest.fixture(params=["folder", "objects"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, copies: Path) -> PackageStore:
    """Two packages, and a file beside."""
    objects = in_folder(tmp_path / "packages", timeout_s=20)
    await stored(objects)
    await stored(objects, "nodules/2.1", weights=b"other")
    await objects.put("README.md", b"what is here")
    return PackageFolder(tmp_path / "packages") if request.param == "folder" else CopiedPackages(objects, copies)


async def test_a_package_is_found_by_its_reference(store: PackageStore) -> None:
    assert contents(await store.folder("nodules/1")) == {"card.toml": card_of(), "weights.safetensors": WEIGHTS}
    assert (await store.folder("nodules/2.1")).parts[-2:] == ("nodules", "2.1")


async def test_which_packages_there_are(store: PackageStore) -> None:
    assert await store.references() == ["nodules/1", "nodules/2.1"]


async def test_one_that_is_not_there_names_those_that_are(store: PackageStore) -> None:
    with pytest.raises(SettingsInvalid, match="there are nodules/1, nodules/2.1"):
        await store.folder("nodules/3")


@pytest.mark.parametrize("reference", ["../packages/nodules/1", "nodules", "nodules/1/", "nodules/../nodules/1", "nodules/.."])
async def test_what_is_no_reference_is_not_looked_for(store: PackageStore, reference: str) -> None:
    with pytest.raises(SettingsInvalid, match="no such package"):
        await store.folder(reference)


async def test_there_may_be_none_at_all(objects: Objects, copies: Path, tmp_path: Path) -> None:
    for store in (PackageFolder(tmp_path / "nowhere"), CopiedPackages(objects, copies)):
        assert await store.references() == []
        with pytest.raises(SettingsInvalid, match="none at all"):
            await store.folder("nodules/1")


async def test_an_export_program_is_fetched_too(objects: Objects, copies: Path) -> None:
    await objects.put("nodules/1/card.toml", card_of(b"program", file="model.pt2", part="program"))
    await objects.put("nodules/1/model.pt2", b"program")
    assert set(contents(await CopiedPackages(objects, copies).folder("nodules/1"))) == {"card.toml", "model.pt2"}


async def test_a_remote_model_has_a_card_alone(objects: Objects, copies: Path) -> None:
    await objects.put("nodules/1/card.toml", b'[remote]\nserver = "triton"\n')
    assert set(contents(await CopiedPackages(objects, copies).folder("nodules/1"))) == {"card.toml"}


@pytest.mark.parametrize("file", ["../../etc/passwd", "/etc/passwd", "a/b", "..", ".hidden", "", "card.toml"])
async def test_a_card_that_names_a_file_outside_is_refused(objects: Objects, copies: Path, file: str) -> None:
    await stored(objects, card=card_of(file=file))
    with pytest.raises(SettingsInvalid, match="outside"):
        await CopiedPackages(objects, copies).folder("nodules/1")
    assert not copies.exists()


@pytest.mark.parametrize("card", [b"\xff", b"no = toml =", b"weights = 1", b'[weights]\nfile = "x"'])
async def test_a_card_that_cannot_be_read(objects: Objects, copies: Path, card: bytes) -> None:
    await stored(objects, card=card)
    with pytest.raises(SettingsInvalid, match="correct the card"):
        await CopiedPackages(objects, copies).folder("nodules/1")


async def test_half_a_package_in_the_store_makes_no_copy(objects: Objects, copies: Path) -> None:
    await objects.put("nodules/1/card.toml", card_of())
    with pytest.raises(ModelFailed, match="missing"):
        await CopiedPackages(objects, copies).folder("nodules/1")
    await objects.put("nodules/1/weights.safetensors", WEIGHTS[:-1])
    with pytest.raises(ModelFailed, match="SHA-256"):
        await CopiedPackages(objects, copies).folder("nodules/1")
    assert not copies.exists()


async def test_a_whole_copy_is_not_fetched_again(objects: Objects, copies: Path) -> None:
    fetched: list[str] = []

    class Counting(Objects):
        async def get(self, name: str) -> bytes | None:
            fetched.append(name)
            return await objects.get(name)

    counting = Counting(objects._store, 20)
    await stored(objects)
    for _ in range(2):
        await CopiedPackages(counting, copies).folder("nodules/1")
    assert fetched == ["nodules/1/card.toml", "nodules/1/weights.safetensors", "nodules/1/card.toml"]


@pytest.mark.parametrize("damage", ["weights", "card", "missing", "empty"])
async def test_a_copy_that_differs_is_replaced(objects: Objects, copies: Path, damage: str) -> None:
    await stored(objects)
    store = CopiedPackages(objects, copies)
    copy = await store.folder("nodules/1")
    if damage == "weights":
        (copy / "weights.safetensors").write_bytes(b"x")
    elif damage == "card":
        (copy / "card.toml").write_bytes(card_of(more="threshold = 0.1"))
    else:
        (copy / "weights.safetensors").unlink()
        if damage == "empty":
            (copy / "card.toml").unlink()
    assert contents(await store.folder("nodules/1")) == {"card.toml": card_of(), "weights.safetensors": WEIGHTS}
    assert sorted(path.name for path in copy.parent.iterdir()) == [".lock", "1"], "nothing is left beside"


async def test_a_package_that_was_changed_in_the_store_is_copied_anew(objects: Objects, copies: Path) -> None:
    store = CopiedPackages(objects, copies)
    await stored(objects)
    await store.folder("nodules/1")
    await stored(objects, weights=b"new weights")
    assert contents(await store.folder("nodules/1"))["weights.safetensors"] == b"new weights"


async def test_many_at_once_see_whole_copies_alone(objects: Objects, copies: Path) -> None:
    """Several processes start together, while one finds a damaged copy."""
    await stored(objects)
    copy = await CopiedPackages(objects, copies).folder("nodules/1")
    (copy / "weights.safetensors").write_bytes(b"x")
    found: list[dict[str, bytes]] = []

    def start() -> None:
        found.append(contents(asyncio.run(CopiedPackages(objects, copies).folder("nodules/1"))))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [{"card.toml": card_of(), "weights.safetensors": WEIGHTS}] * 8


async def test_while_the_store_is_away_a_whole_copy_will_do(objects: Objects, copies: Path) -> None:
    await stored(objects)
    copy = await CopiedPackages(objects, copies).folder("nodules/1")
    with structlog.testing.capture_logs() as logs:
        assert await CopiedPackages(Away(), copies).folder("nodules/1") == copy
    assert [line["event"] for line in logs] == ["packages are away: a copy is used"]
    (copy / "weights.safetensors").write_bytes(b"x")
    for reference in ("nodules/1", "nodules/2"):
        with pytest.raises(ObjectStoreUnavailable):
            await CopiedPackages(Away(), copies).folder(reference)


async def test_copies_that_cannot_be_written(objects: Objects, tmp_path: Path) -> None:
    await stored(objects)
    (tmp_path / "models").write_text("a file where a folder should be")
    with pytest.raises(SettingsInvalid, match="RADSTREAM_MODELS__COPIES"):
        await CopiedPackages(objects, tmp_path / "models").folder("nodules/1")
