"""What the gate learns from: films, other images, and counter-examples made of films or drawn."""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, UnidentifiedImageError
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as T

from models.preprocessing import resize
from models.training.films import FilmRecord, Split, split_of

Picture = NDArray[np.float32]
#: long side of what is kept of an image: twice the gate's canvas
KEPT = 128
#: an image smaller than this shows nothing
SMALLEST = 24
TURNS = (1, 2, 3)


@dataclass(frozen=True)
class OtherImage:
    """Greys 0..1. identity: the first 16 digits of the SHA-256 of the pixels as read. kind: for the report."""

    picture: Picture
    identity: str
    kind: str
    split: Split


def shrunk(picture: Picture) -> Picture:
    """To long side KEPT, greys to 0..1."""
    rows, columns = picture.shape
    scale = min(1.0, KEPT / max(rows, columns))
    small: Picture = resize(picture, max(1, round(rows * scale)), max(1, round(columns * scale))).numpy()
    low, high = float(small.min()), float(small.max())
    return np.asarray((small - low) / max(high - low, 1e-6), dtype=np.float32)


def read_film_small(record: FilmRecord) -> Picture:
    """The JPEGs are squeezed to a square: the original aspect is restored."""
    with Image.open(record.path) as image:
        greys = np.asarray(image.convert("L"), dtype=np.float32)
    scale = KEPT / max(record.rows, record.columns)
    return shrunk(np.asarray(resize(greys, round(record.rows * scale), round(record.columns * scale)).numpy()))


def read_dicom(path: Path) -> tuple[Picture, str] | None:
    """Bright = dense greys of its first frame, and "MR 64x64"; None: nothing that can be read, or a chest."""
    try:
        dataset = pydicom.dcmread(path)
        if dataset.get("BodyPartExamined") == "CHEST":
            return None
        stored = np.asarray(dataset.pixel_array, dtype=np.float32)
    except Exception:  # noqa: BLE001 - test files of pydicom are broken in every way; such a one is no picture
        return None
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        stored = stored[0]
    greys = stored.mean(-1) if stored.ndim == 3 else stored
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        greys = 2**dataset.BitsStored - 1 - greys
    return np.asarray(greys, dtype=np.float32), f"{dataset.get('Modality') or 'unknown'} {dataset.Rows}x{dataset.Columns}"


def read_picture(path: Path) -> Picture | None:
    try:
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            return np.asarray(image.convert("L"), dtype=np.float32)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return None


def other_images(folders: list[Path]) -> list[OtherImage]:
    """All images below the folders that are no chest film. Copies are left out; what shares a name's beginning (or modality and
    size) is in one split. Radiographs (CR, DX, RF) are kept for the test: there are too few to learn from."""
    found: dict[str, OtherImage] = {}
    for path in sorted(p for folder in folders for p in folder.rglob("*") if p.is_file()):
        if path.suffix == ".dcm":
            read = read_dicom(path)
            if read is None:
                continue
            greys, group = read
            kind = f"DICOM {group.split()[0]}"
        else:
            picture = read_picture(path)
            if picture is None:
                continue
            greys, kind = picture, "photograph or drawing"
            group = path.stem.split("_")[0].split("-")[0].lower()
        if min(greys.shape) < SMALLEST or not greys.max() > greys.min():
            continue
        identity = hashlib.sha256(greys.tobytes()).hexdigest()[:16]
        split: Split = "test" if group.startswith(("CR ", "DX ", "RF ")) else split_of(group)
        found.setdefault(identity, OtherImage(shrunk(greys), identity, kind, split))
    return list(found.values())


# ------------------------------------------------------------------------------------------- what real films differ in


def altered(picture: Picture, rng: np.random.Generator) -> Picture:
    """As another device, room or archive would show it: size, aspect, tilt, borders, collimation, letters, grey curve, noise."""
    rows, columns = picture.shape
    cut = rng.uniform(0, 0.07, 4)
    top, bottom = int(cut[0] * rows), rows - int(cut[1] * rows)
    left, right = int(cut[2] * columns), columns - int(cut[3] * columns)
    image = torch.from_numpy(np.ascontiguousarray(picture[top:bottom, left:right]))[None]
    if rng.random() < 0.7:
        image = T.rotate(image, float(rng.normal(0, 3.5)), InterpolationMode.BILINEAR, fill=[float(rng.random() < 0.1)])
    long = rng.integers(64, 160)
    aspect = (right - left) / (bottom - top) * float(np.exp(rng.uniform(-0.12, 0.12)))
    height, width = (long, round(long * aspect)) if aspect < 1 else (round(long / aspect), long)
    grey: NDArray[np.floating] = resize(np.asarray(image[0].numpy()), max(8, int(height)), max(8, int(width))).numpy().clip(0, 1)
    grey = grey ** float(np.exp(rng.uniform(-0.6, 0.6)))
    if rng.random() < 0.3:  # the toe and shoulder of a film's curve
        grey = 1 / (1 + np.exp(-rng.uniform(2, 8) * (grey - rng.uniform(0.3, 0.7))))
    grey = grey + rng.normal(0, rng.uniform(0, 0.05), grey.shape)
    if rng.random() < 0.35:
        grey = _collimated(grey, rng)
    if rng.random() < 0.4:
        grey = _lettered(grey, rng)
    if rng.random() < 0.5:
        grey = grey[:, ::-1]
    return np.ascontiguousarray(grey, dtype=np.float32)


def _collimated(grey: NDArray[np.floating], rng: np.random.Generator) -> NDArray[np.floating]:
    """Borders outside the beam, or outside the film in a scanner: white (unexposed) or black (masked)."""
    value, framed = float(rng.random() < 0.4), grey.copy()
    rows, columns = grey.shape
    for side in range(4):
        if rng.random() < 0.6:
            depth = int(rng.uniform(0.01, 0.12) * (rows if side < 2 else columns)) + 1
            place = (slice(0, depth), slice(-depth, None))[side % 2]
            framed[(place, slice(None)) if side < 2 else (slice(None), place)] = value
    return framed


def _lettered(grey: NDArray[np.floating], rng: np.random.Generator) -> Picture:
    canvas = Image.fromarray(grey.astype(np.float32), "F")
    draw = ImageDraw.Draw(canvas)
    for _ in range(rng.integers(1, 4)):
        text = "".join(rng.choice(list("LRPA0123456789 :"), rng.integers(1, 9)))
        x = rng.choice([0.02, 0.75]) * grey.shape[1]
        draw.text((x, rng.uniform(0, 0.95) * grey.shape[0]), text, fill=float(rng.uniform(0.9, 1.1)))
    return np.asarray(canvas, dtype=np.float32)


# --------------------------------------------------------------------------------------------------- counter-examples


def turned(film: Picture, rng: np.random.Generator) -> Picture:
    return np.ascontiguousarray(np.rot90(film, int(rng.choice(TURNS))))


def inverted(film: Picture, rng: np.random.Generator) -> Picture:
    return 1 - film


def quarter(film: Picture, rng: np.random.Generator) -> Picture:
    """A part of 35 to 55 % of either side: at most a third of the chest."""
    rows, columns = (int(side * rng.uniform(0.35, 0.55)) for side in film.shape)
    top, left = rng.integers(0, film.shape[0] - rows), rng.integers(0, film.shape[1] - columns)
    return film[top : top + rows, left : left + columns]


def limb(rng: np.random.Generator) -> Picture:
    """A drawn extremity: bones with dense cortex and thick ends in soft tissue, air or white shutters beside it."""
    rows, columns = rng.integers(80, 150, 2)
    y, x = np.mgrid[-1 : 1 : complex(0, rows), -1 : 1 : complex(0, columns)]
    angle = rng.uniform(-0.5, 0.5) + rng.choice([0, 0, np.pi / 2])
    across, along = x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)
    across = across + rng.uniform(-0.2, 0.2) * along**2 - rng.uniform(-0.3, 0.3)
    girth = rng.uniform(0.25, 0.8) * (1 + rng.uniform(-0.4, 0.4) * along)
    image = rng.uniform(0.3, 0.7) * np.sqrt(np.clip(1 - (across / girth) ** 2, 0, None))
    for _ in range(rng.integers(1, 5)):
        centre, ends = rng.uniform(-0.6, 0.6) * girth, rng.uniform(-1.2, 1.2)
        thick = rng.uniform(0.06, 0.2) * (1 + rng.uniform(0, 2) * np.exp(-(((along - ends) / 0.25) ** 2)))
        depth = np.clip(1 - ((across - centre) / thick) ** 2, 0, None)
        marrow = np.clip(1 - ((across - centre) / (0.7 * thick)) ** 2, 0, None)
        gap = np.abs(along - ends) > rng.uniform(0, 0.04)
        image += gap * rng.uniform(0.3, 0.8) * (np.sqrt(depth) - 0.5 * np.sqrt(marrow))
    if rng.random() < 0.5:
        image[np.abs(x - rng.uniform(-0.15, 0.15)) > rng.uniform(0.5, 0.95)] = rng.choice([0.0, image.max()])
    return np.asarray(image / max(image.max(), 1e-6), dtype=np.float32).clip(0, 1)


def noise(rng: np.random.Generator) -> Picture:
    grain = rng.random(tuple(rng.integers(2, 120, 2)), dtype=np.float32)
    return np.asarray(resize(grain, *(int(side) for side in rng.integers(60, 140, 2))).numpy()).clip(0, 1)


def gradient(rng: np.random.Generator) -> Picture:
    """A ramp, or a spot."""
    rows, columns = rng.integers(60, 140, 2)
    y, x = np.mgrid[-1 : 1 : complex(0, rows), -1 : 1 : complex(0, columns)]
    angle, centre = rng.uniform(0, 2 * np.pi), rng.uniform(-0.7, 0.7, 2)
    ramp = x * np.cos(angle) + y * np.sin(angle)
    spot = np.hypot((x - centre[0]) * rng.uniform(0.5, 2), y - centre[1]) * rng.choice([-1, 1])
    image = ramp if rng.random() < 0.5 else spot
    return np.asarray((image - image.min()) / np.ptp(image), dtype=np.float32)


def text_page(rng: np.random.Generator) -> Picture:
    rows, columns = (int(side) for side in rng.integers(80, 160, 2))
    page = Image.new("F", (columns, rows), 0)
    draw = ImageDraw.Draw(page)
    for row in range(rng.integers(0, 10), rows, int(rng.integers(9, 16))):
        if rng.random() < 0.85:
            draw.text(
                (int(rng.integers(0, 20)), row), "".join(rng.choice(list("ABCDefghijklmn 0123 "), rng.integers(4, 26))), fill=1
            )
    drawn = np.asarray(page, dtype=np.float32)
    return 1 - drawn if rng.random() < 0.5 else drawn


def pattern(rng: np.random.Generator) -> Picture:
    """Test patterns: bars, checks, rings, grey steps."""
    rows, columns = rng.integers(60, 140, 2)
    y, x = np.mgrid[0 : 1 : complex(0, rows), 0 : 1 : complex(0, columns)]
    wave = rng.uniform(2, 30, 2)
    bars, checks = np.sin(x * wave[0]) > 0, (np.sin(x * wave[0]) * np.sin(y * wave[1])) > 0
    rings, steps = np.sin(np.hypot(x - 0.5, y - 0.5) * wave[0] * 2) > 0, np.floor(x * wave[0]) / wave[0]
    image: NDArray[np.float64] = (bars, checks, rings, steps)[rng.integers(4)].astype(np.float64)
    return np.asarray(np.rot90(image, int(rng.integers(4))), dtype=np.float32)


#: kind -> of a film
MADE: dict[str, Callable[[Picture, np.random.Generator], Picture]] = {
    "film turned by 90, 180 or 270 degrees": turned,
    "film with inverted greys": inverted,
    "a part of a film": quarter,
}
#: kind -> of nothing
DRAWN: dict[str, Callable[[np.random.Generator], Picture]] = {
    "drawn limb": limb,
    "noise": noise,
    "gradient": gradient,
    "page of text": text_page,
    "test pattern": pattern,
}
