"""The tables that `radstream model evaluate` reads: labels, scores, boxes, and which rows speak of the same file."""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from schemas.errors import SettingsInvalid

_STEP = "evaluate"
#: columns by their names here, and as NIH ChestX-ray14 calls them (Data_Entry_2017.csv)
_COLUMNS = {
    "file": ("file", "image index"),
    "label": ("label",),
    "labels": ("labels", "finding labels"),
    "patient": ("patient_id", "patient id"),
    "view": ("view", "view position"),
    "sex": ("sex", "patient sex", "patient gender"),
    "age": ("age", "patient age"),
}
NO_FINDING = "No Finding"
_YES, _NO = frozenset({"1", "1.0", "true", "yes"}), frozenset({"0", "0.0", "false", "no"})


@dataclass(frozen=True, slots=True)
class Labelled:
    """A row of labels. `positive`: None where it says neither. `nothing`: its label is No Finding; None: nobody says such things.
    `groups`: view, sex, age where the table has them."""

    file: str
    positive: bool | None
    nothing: bool | None
    patient: str | None
    groups: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Box:
    """Pixels of the file's image."""

    left: float
    top: float
    width: float
    height: float
    probability: float = 0.0


@dataclass(frozen=True, slots=True)
class Scored:
    """A row of `radstream model score`."""

    file: str
    model: str
    suitable: bool
    reason: str
    probability: float | None
    boxes: tuple[Box, ...]


def read_labels(path: Path, positive: frozenset[str]) -> list[Labelled]:
    """`positive`: which of the column labels ("Nodule|Mass") make a row positive; without that column, the column label says it.
    Raises SettingsInvalid."""
    rows = list(_rows(path, "--labels"))
    names = {column: _named(rows[0], several) for column, several in _COLUMNS.items()}
    if names["file"] is None or (names["label"] is None and names["labels"] is None):
        raise SettingsInvalid(_STEP, "--labels", "needs the column file, and label (0 or 1) or labels (Nodule|Mass)")

    def one(row: Mapping[str, str]) -> Labelled:
        told = {column: row[name].strip() for column, name in names.items() if name is not None}
        labels = frozenset(label.strip() for label in told.get("labels", "").split("|")) - {""}
        return Labelled(
            file=told["file"],
            positive=(bool(labels & positive) if labels else None) if "labels" in told else _truth(told["label"]),
            nothing=labels == {NO_FINDING} if "labels" in told else None,
            patient=told.get("patient") or None,
            groups={column: told[column] for column in ("view", "sex", "age") if column in told},
        )

    return [one(row) for row in rows]


def read_scores(path: Path) -> list[Scored]:
    """Raises SettingsInvalid."""
    rows = list(_rows(path, "--scores"))
    if missing := {"file", "model_name", "model_version", "suitable", "reason", "probability", "boxes"} - rows[0].keys():
        raise SettingsInvalid(_STEP, "--scores", f"is no table of radstream model score: {', '.join(sorted(missing))} missing")
    try:
        return [_scored(row) for row in rows]
    except (ValueError, TypeError, KeyError):
        raise SettingsInvalid(_STEP, "--scores", "a probability is none, or boxes are not those of a score") from None


def read_boxes(path: Path) -> dict[str, list[Box]]:
    """By file. Raises SettingsInvalid."""
    boxes: dict[str, list[Box]] = defaultdict(list)
    try:
        for row in _rows(path, "--boxes"):
            boxes[row["file"].strip()].append(Box(*(float(row[edge]) for edge in ("left", "top", "width", "height"))))
    except (KeyError, ValueError):
        raise SettingsInvalid(_STEP, "--boxes", "needs the columns file, left, top, width, height, the last four numbers") from None
    return boxes


_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".dcm", ".dicom"})


class Names:
    """Files by their names: the whole path, else the end of the path, else without suffix (a label's .png is here a .jpg). `asked`:
    all that will be asked for: where two of these differ by their folders alone, the folders count."""

    def __init__(self, files: Sequence[str], asked: Iterable[str] = ()) -> None:
        several = Counter(_bare(path).name for path in {PurePath(one) for one in asked})
        self._of_several = {name for name, number in several.items() if number > 1}
        self._paths = [PurePath(file) for file in files]
        self._by_name: dict[str, list[int]] = defaultdict(list)
        self._by_stem: dict[str, list[int]] = defaultdict(list)
        for number, path in enumerate(self._paths):
            self._by_name[path.name].append(number)
            self._by_stem[_bare(path).name].append(number)

    def meant_by(self, file: str) -> list[int]:
        """Numbers of the files that it may mean: of several none is meant."""
        asked = PurePath(file)
        named = self._by_name.get(asked.name) or self._by_stem.get(_bare(asked).name, [])
        if exact := [n for n in named if self._paths[n] == asked]:
            return exact
        if _bare(asked).name in self._of_several:
            return [n for n in named if _ends(self._paths[n], asked) or _ends(asked, self._paths[n])]
        return [n for n in named if _ends(self._paths[n], asked)] or named


def _bare(path: PurePath) -> PurePath:
    """Without the suffix of an image file: the last part of a UID is none."""
    return path.with_suffix("") if path.suffix.lower() in _SUFFIXES else path


def _ends(path: PurePath, end: PurePath) -> bool:
    return _bare(path).parts[-len(end.parts) :] == _bare(end).parts


def _scored(row: Mapping[str, str]) -> Scored:
    edges = ("left", "top", "width", "height", "probability")
    return Scored(
        file=row["file"],
        model=f"{row['model_name']}/{row['model_version']}",
        suitable=row["suitable"] == "true",
        reason=row["reason"],
        probability=_probability(row["probability"]) if row["probability"] else None,
        boxes=tuple(Box(*(float(box[edge]) for edge in edges)) for box in json.loads(row["boxes"])),
    )


def _probability(said: str) -> float:
    probability = float(said)
    if not 0 <= probability <= 1:
        raise ValueError("no probability")
    return probability


def _rows(path: Path, option: str) -> Iterator[dict[str, str]]:
    """At least one; what a short row lacks is empty."""
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            rows = csv.DictReader(file, restval="")
            first = next(rows, None)
            if first is None:
                raise SettingsInvalid(_STEP, option, "has no row")
            yield first
            yield from rows
    except (OSError, csv.Error) as error:
        raise SettingsInvalid(_STEP, option, f"cannot be read as CSV ({type(error).__name__})") from None


def _named(row: Iterable[str | None], several: tuple[str, ...]) -> str | None:
    return next((name for name in row if name is not None and name.strip().lower() in several), None)


def _truth(said: str) -> bool | None:
    return True if said.lower() in _YES else False if said.lower() in _NO else None
