"""A file is there whole or not at all, whoever else writes it and however the writing ends."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from streams.whole_file import whole_file, write_whole


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


def test_it_takes_the_place_of_what_stood_there_when_it_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(b"old")
    file.chmod(0o666)
    with whole_file(file) as written:
        written.write(b"new")
        written.flush()
        assert file.read_bytes() == b"old"
        (unfinished,) = (one for one in tmp_path.iterdir() if one != file)
        assert not unfinished.name.endswith(".json"), "whoever looks for files by their ending never reads half of one"
        assert stat.S_IMODE(unfinished.stat().st_mode) == 0o600, "its owner's from the first byte on"
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode), names(tmp_path)) == (b"new", 0o600, ["x.json"])


def test_a_mode_is_masked_as_that_of_any_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "x", b"", 0o666)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_breaks_off_leaves_what_stood_there(tmp_path: Path, error: type[BaseException]) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"old")

    def interrupted() -> None:
        with whole_file(file) as written:
            written.write(b"half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert (file.read_bytes(), names(tmp_path)) == (b"old", ["x"])


def test_two_that_write_at_once_do_not_mix(tmp_path: Path) -> None:
    file = tmp_path / "x"
    with whole_file(file) as one, whole_file(file) as other:
        one.write(b"1" * 10)
        other.write(b"2" * 5)
    assert (file.read_bytes(), names(tmp_path)) == (b"1" * 10, ["x"])


def test_a_link_is_replaced_and_never_followed(tmp_path: Path) -> None:
    precious, file = tmp_path / "precious", tmp_path / "x"
    precious.write_bytes(b"precious")
    file.symlink_to(precious)
    write_whole(file, b"new")
    assert (precious.read_bytes(), file.read_bytes(), file.is_symlink()) == (b"precious", b"new", False)


def test_what_stands_there_is_kept_when_it_is_to_be(tmp_path: Path) -> None:
    file = tmp_path / "key"
    write_whole(file, b"first", replace=False)
    with pytest.raises(FileExistsError):
        write_whole(file, b"second", replace=False)
    assert (file.read_bytes(), names(tmp_path)) == (b"first", ["key"])


@pytest.mark.parametrize("sync", [True, False])
def test_it_is_on_the_disk_before_it_has_its_name(tmp_path: Path, sync: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    file, synced = tmp_path / "x", list[bool]()
    monkeypatch.setattr("os.fsync", lambda _: synced.append(file.exists()))
    write_whole(file, b"x", sync=sync)
    assert synced == [False] * sync


def test_what_cannot_be_written_is_an_error_and_no_litter(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    for file in (tmp_path / "x", tmp_path / "absent" / "x"):
        with pytest.raises(OSError):
            write_whole(file, b"")
    assert names(tmp_path) == ["x"]
    assert names(tmp_path / "x") == []
