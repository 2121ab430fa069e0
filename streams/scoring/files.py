"""Which files are scored, by their names alone: what is opened decides the rest."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: never an image, in a folder; whoever names such a file itself gets a row that says so
NO_IMAGES = frozenset(
    {".csv", ".tsv", ".txt", ".md", ".rst", ".json", ".jsonl", ".xml", ".html", ".htm", ".toml", ".yaml", ".yml", ".ini", ".log"}
    | {".py", ".ipynb", ".sh", ".sql", ".db", ".sqlite", ".pdf", ".doc", ".docx", ".xls", ".xlsx", ".ods", ".md5", ".sha256"}
    | {".zip", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".tar", ".npy", ".npz", ".h5", ".parquet", ".pkl", ".pt", ".safetensors"}
)
NO_IMAGE_NAMES = frozenset({"DICOMDIR", "THUMBS.DB", "DESKTOP.INI"})


@dataclass(frozen=True, slots=True)
class Listing:
    """Files by the name they are told under, in the order of these; `refused`: those that cannot be asked, and why.
    `skipped`: how many were left out of folders, by what they are."""

    files: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)


def listed(named: Sequence[Path], but: Path | None = None) -> Listing:
    """What was named itself, and of folders what is in them at any depth, without `but`. A file's name is the folder's, as it was
    given, and the way from there. Everything is listed once, in the order of the names."""
    listing = Listing()
    for path in named:
        if path.is_dir():
            _add_folder(str(path), listing, but)
        elif refused := _why_not(path):
            listing.refused[str(path)] = refused
        else:
            listing.files.append(str(path))
    listing.files[:] = sorted({*listing.files, *listing.refused})
    return listing


def _add_folder(top: str, listing: Listing, but: Path | None) -> None:
    def closed(error: OSError) -> None:
        listing.refused[os.fsdecode(error.filename)] = f"the folder cannot be opened ({type(error).__name__})"

    above: dict[str, frozenset[tuple[int, int]]] = {top: frozenset({_identity(Path(top))})}
    for folder, folders, names in os.walk(top, onerror=closed, followlinks=True):
        here = above.pop(folder)
        for name in list(folders):
            identity = _identity(Path(folder, name))
            if name.startswith(".") or identity in here:
                listing.skipped["hidden" if name.startswith(".") else "links to a folder above"] += 1
                folders.remove(name)
            else:
                above[os.path.join(folder, name)] = here | {identity}  # noqa: PTH118 - as os.walk calls it
        for path in (Path(folder, name) for name in names):
            if but is None or not but.exists() or not but.samefile(path):
                _add_file(path, listing)


def _add_file(path: Path, listing: Listing) -> None:
    if path.name.startswith("."):
        listing.skipped["hidden"] += 1
    elif path.suffix.lower() in NO_IMAGES:
        listing.skipped[path.suffix.lower()] += 1
    elif path.name.upper() in NO_IMAGE_NAMES:
        listing.skipped[path.name.upper()] += 1
    elif refused := _why_not(path):
        listing.refused[str(path)] = refused
    else:
        listing.files.append(str(path))


def _why_not(path: Path) -> str | None:
    """A pipe or a device may never end."""
    try:
        if path.is_file():
            return None
        return "it is no regular file" if path.exists() else "there is no such file"
    except OSError as error:
        return f"the file cannot be opened ({type(error).__name__})"


def _identity(folder: Path) -> tuple[int, int]:
    """Whatever link leads there."""
    try:
        found = folder.stat()
    except OSError:
        return -1, hash(folder)  # os.walk tells of it
    return found.st_dev, found.st_ino
