"""Normal radiographs and CT nodules, split by patient and by LIDC series."""

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from models.preprocessing import CANVAS, GreyScale, Placement, resize

Split = Literal["train", "validation", "test"]
#: the model's intended use is adults; a child's film has another scale
YOUNGEST = 18
NORMAL = frozenset({"No Finding"})
DISEASED = frozenset({"Nodule", "Mass"})
#: side of a nodule projection in ct_nodules.npz, 1 mm a pixel
PROJECTION = 50


def split_of(identity: str) -> Split:
    """60 / 15 / 25, by a hash of the patient (or of the LIDC series): the same on every machine, whatever the order of files."""
    place = _place(identity)
    return "train" if place < 60 else "validation" if place < 75 else "test"


def diseased_split_of(patient: str) -> Split:
    """Half and half, by the same hash."""
    return "validation" if _place(patient) < 50 else "test"


def _place(identity: str) -> int:
    return int.from_bytes(hashlib.sha256(identity.encode()).digest()[:4], "big") % 100


@dataclass(frozen=True)
class FilmRecord:
    path: Path
    patient: str
    columns: int
    rows: int
    labels: frozenset[str]
    view: str
    sex: str
    age: int
    split: Split


def film_records(data: Path) -> Iterator[FilmRecord]:
    """All films of `cxr/labels.csv`. Patients with a Nodule or Mass on any film belong to the test split whole; `adult_films` moves
    half of them."""
    with (data / "cxr" / "labels.csv").open(newline="") as lines:
        table = list(csv.DictReader(lines))
    diseased = {row["patient_id"] for row in table if DISEASED & set(row["labels"].split("|"))}
    for row in table:
        patient = row["patient_id"]
        yield FilmRecord(
            path=data / "cxr" / "images" / row["file"],
            patient=patient,
            columns=int(row["original_width"]),
            rows=int(row["original_height"]),
            labels=frozenset(row["labels"].split("|")),
            view=row["view"],
            sex=row["sex"],
            age=int(row["age"]),
            split="test" if patient in diseased else split_of(patient),
        )


def normal_films(data: Path, split: Split) -> list[FilmRecord]:
    """Adults labelled No Finding."""
    return [r for r in adult_films(data, split) if r.labels == NORMAL]


def adult_films(data: Path, split: Split) -> list[FilmRecord]:
    """Whatever their labels. Here half of the patients with a Nodule or Mass (by their hash) belong to validation, where threshold
    and calibration of the detector are fitted."""
    records = list(film_records(data))
    diseased = {r.patient for r in records if r.labels & DISEASED}
    moved = [replace(r, split=diseased_split_of(r.patient)) if r.patient in diseased else r for r in records]
    return [r for r in moved if r.split == split and r.age >= YOUNGEST]


def read_film(record: FilmRecord, *, squeezed: bool = False) -> NDArray[np.float32]:
    """8-bit greys with the original aspect, long side 448; `squeezed`: to a square, as the pictures are published and stored."""
    with Image.open(record.path) as image:
        greys = np.asarray(image.convert("L"), dtype=np.float32)
    place = Placement.of(CANVAS, CANVAS) if squeezed else Placement.of(record.rows, record.columns)
    film: NDArray[np.float32] = resize(greys, place.height, place.width).numpy()
    return film


#: two ellipses, centre x, centre y, half width, half height in shares of the film: where lungs may be
LUNGS = ((0.3, 0.42, 0.17, 0.3), (0.7, 0.42, 0.17, 0.3))
#: darkest part of the ellipses that counts as lung (the rest is shoulder, heart, diaphragm)
LUNG_SHARE = 0.5
#: linear grey below which it is air around the patient
AIR = 0.03


def lung_fields(linear: Tensor) -> Tensor:
    """(rows, columns) linear greys -> boolean mask of where a nodule may be put.

    Rule: on a grid of 8 x 8 pixels, the darker half of two ellipses, air outside the patient left out.
    """
    rows, columns = linear.shape
    grid = F.interpolate(linear[None, None], (rows // 8, columns // 8), mode="area")[0, 0]
    y = (torch.arange(grid.shape[0]) + 0.5)[:, None] / grid.shape[0]
    x = (torch.arange(grid.shape[1]) + 0.5)[None, :] / grid.shape[1]
    inside = torch.zeros_like(grid, dtype=torch.bool)
    for centre_x, centre_y, half_width, half_height in LUNGS:
        inside |= ((x - centre_x) / half_width) ** 2 + ((y - centre_y) / half_height) ** 2 < 1
    inside &= grid > AIR
    lungs = inside & (grid <= grid[inside].quantile(LUNG_SHARE))
    return F.interpolate(lungs[None, None].float(), (rows, columns), mode="nearest")[0, 0] > 0.5


@dataclass(frozen=True)
class Film:
    """A normal film on the canvas, with what inserting a nodule needs to know.

    linear: (448, 448) float16, `GreyScale.linear` of the film, padding 0. lungs: (n, 2) canvas x, y of lung cells.
    lung_level, dense_level: median grey of lung, and of the densest tenth of the film's central area, on the same scale.
    """

    linear: Tensor
    exponent: float
    lungs: Tensor
    lung_level: float
    dense_level: float
    #: of columns and of rows, where the film is squeezed to a square as NIH publishes it
    squeeze: tuple[float, float] = (1.0, 1.0)

    @classmethod
    def of(cls, film: NDArray[np.float32]) -> "Film":
        content = torch.from_numpy(film)
        rows, columns = content.shape
        curve = GreyScale.of(content)
        linear = curve.linear(content)
        lungs = lung_fields(linear)
        central = linear[rows // 8 : rows * 7 // 8, columns // 8 : columns * 7 // 8]
        lung_level = float(linear[lungs].median())
        dense_level = max(float(central.quantile(0.9)), lung_level + 0.15)
        place = Placement.of(rows, columns)
        canvas = torch.zeros(CANVAS, CANVAS)
        canvas[place.content] = linear
        y, x = torch.nonzero(lungs[::4, ::4], as_tuple=True)
        where = torch.stack([x * 4 + place.left, y * 4 + place.top], 1).float()
        return cls(canvas.half(), curve.exponent, where, lung_level, dense_level, (CANVAS / place.width, CANVAS / place.height))


@dataclass(frozen=True)
class Nodules:
    """Segmented CT nodules: excess (n, 50, 50) float32, extra soft-tissue path in mm; diameter (n,) mm; both read-only."""

    excess: NDArray[np.float32]
    diameter: NDArray[np.float32]

    @classmethod
    def read(cls, data: Path, split: Split) -> "Nodules":
        """A LIDC series is wholly in one split."""
        with (data / "cxr" / "ct_nodules.csv").open(newline="") as lines:
            table = list(csv.DictReader(lines))
        kept = [row for row in table if split_of(row["lidc_series_and_nodule"].rsplit("_", 1)[0]) == split]
        with np.load(data / "cxr" / "ct_nodules.npz", allow_pickle=False) as arrays:
            excess = arrays["excess_mm_x16"][[int(row["index"]) for row in kept]].astype(np.float32) / 16
        return cls(excess, np.array([float(row["diameter_mm"]) for row in kept], dtype=np.float32))

    def draw(self, rng: np.random.Generator, diameter_mm: float) -> tuple[NDArray[np.float32], float]:
        """A projection and the factor that brings it to that diameter: from nodules at most 2.5 times smaller, or the largest."""
        near = np.flatnonzero((self.diameter >= diameter_mm / 2.5) & (self.diameter <= diameter_mm * 1.2))
        if not near.size:
            near = np.argsort(self.diameter)[-30:]
        chosen = int(rng.choice(near))
        return self.excess[chosen], diameter_mm / float(self.diameter[chosen])
