"""`radstream model score` when something breaks: the file's decoder, the model, radstream itself, or the whole run."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import signal
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from connectors import film_files
from connectors.film_files import FilmFiles
from models.registry import PACKAGES
from schemas.errors import ModelFailed, ModelUnavailable, Unsuitable
from schemas.findings import AnalysedImage, ModelIdentity, NotAnalysedReason
from schemas.outputs import Coding, Output
from schemas.ports import Prediction, Radiograph
from streams.scoring.images import Scorer
from streams.scoring.table import Row, Table, seen
from streams.steps.choosing import IntendedUse
from tests.unit.hostile_films import ends_or_hangs

LIMIT = 1_000_000


class Model:
    """`FindingModel` that answers as it is told."""

    identity = ModelIdentity(name="told", version="1", weights_sha256="0" * 64)
    service = "chest-radiograph-findings"
    threshold = 0.5

    def __init__(self, answer: Callable[[Radiograph], Prediction]) -> None:
        self._answer = answer

    async def predict(self, radiograph: Radiograph) -> Prediction:
        return self._answer(radiograph)


def image_of(radiograph: Radiograph) -> AnalysedImage:
    rows, columns = radiograph.pixels.shape
    uid, digest = radiograph.sop_instance_uid, radiograph.pixel_sha256
    return AnalysedImage(sop_instance_uid=uid, pixel_sha256=digest, rows=rows, columns=columns, probability=0.5)


def films(timeout_s: float = 20.0) -> FilmFiles:
    return FilmFiles(workers=1, timeout_s=timeout_s, memory_limit_bytes=2 * 1024**3, pixel_limit=LIMIT)


def scorer(several: FilmFiles, answer: Callable[[Radiograph], Prediction] | None = None) -> Scorer:
    return Scorer(several, Model(answer or (lambda radiograph: Prediction(image_of(radiograph), ()))), IntendedUse(), 10_000_000)


@pytest.fixture(scope="module")
def several() -> Iterator[FilmFiles]:
    with closing(films()) as files:
        yield files


@pytest.fixture
def film(tmp_path: Path) -> str:
    Image.fromarray(np.arange(10_000, dtype=np.uint16).reshape(100, 100)).save(tmp_path / "film.png")
    return str(tmp_path / "film.png")


async def test_a_decoder_that_dies_or_hangs_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film_files, "read_film", ends_or_hangs)
    for name in ("crash", "hang"):
        (tmp_path / name).write_bytes(name.encode())
    with closing(films(timeout_s=5)) as several:
        crashed, hung = [await scorer(several).score(str(tmp_path / name)) for name in ("crash", "hang")]
    assert not crashed.suitable and "ended with code" in crashed.reason and crashed.reason.endswith("2 times")
    assert (hung.suitable, hung.reason) == (False, "not decoded within 5 s")


async def test_a_picture_that_promises_too_much_is_not_unpacked(several: FilmFiles, tmp_path: Path) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    side = 60_000
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(side * 100))) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(bomb)
    row = await scorer(several).score(str(tmp_path / "bomb.png"))
    assert (row.suitable, row.reason) == (False, f"it promises more than {LIMIT} samples")


async def test_a_file_beyond_the_limit_is_not_read(several: FilmFiles, tmp_path: Path) -> None:
    with (tmp_path / "large.png").open("wb") as file:
        file.truncate(10_000_001)
    row = await scorer(several).score(str(tmp_path / "large.png"))
    assert row.reason == "the file is larger than 10000000 bytes"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ModelFailed("analyse", "1.2", "its answer is not a number"), "the model failed: its answer is not a number"),
        (Unsuitable("analyse", "1.2", "no\ncontrast", NotAnalysedReason.NO_IMAGE), "no contrast"),
        (ValueError("DOE^JANE"), "radstream failed on it: please report this (ValueError)"),
    ],
)
async def test_what_fails_on_one_image_is_its_row(several: FilmFiles, film: str, error: Exception, reason: str) -> None:
    def fails(radiograph: Radiograph) -> Prediction:
        raise error

    row = await scorer(several, fails).score(film)
    assert row == Row(film, suitable=False, reason=reason)


async def test_a_model_that_is_away_is_no_fault_of_a_file(several: FilmFiles, film: str) -> None:
    def away(radiograph: Radiograph) -> Prediction:
        raise ModelUnavailable("analyse", "server", "gone")

    with pytest.raises(ModelUnavailable):
        await scorer(several, away).score(film)


async def test_a_picture_is_taken_for_what_the_model_is_for(several: FilmFiles, film: str) -> None:
    asked: list[Radiograph] = []

    def answer(radiograph: Radiograph) -> Prediction:
        asked.append(radiograph)
        return Prediction(image_of(radiograph), ())

    use = IntendedUse(body_parts=frozenset({"CHEST"}), view_required=True)
    row = await Scorer(several, Model(answer), use, LIMIT).score(film)
    assert row.suitable and row.probability == 0.5
    assert (asked[0].modality, asked[0].body_part_examined, asked[0].view_position) == ("CR", "CHEST", "AP")
    assert np.array_equal(asked[0].pixels, np.arange(10_000).reshape(100, 100)) and asked[0].pixels.dtype == np.uint16


# ------------------------------------------------------------------------------------------------------------ the table


def test_named_outputs_have_columns_of_their_own() -> None:
    coding = Coding(system="http://example.org", code="1", display="tube")
    outputs = (Output(name="tube", coding=coding, value=1.5e-7), Output(name="width", coding=coding, value=12.0, unit="mm"))
    image = AnalysedImage(sop_instance_uid="1.2", pixel_sha256="0" * 64, rows=1, columns=1, outputs=outputs)
    text = io.StringIO()
    table = Table(text, Model.identity, ["tube", "width", "other"])
    table.add(seen('a "b",c.png', Prediction(image, ())))
    table.add(Row("d.png", suitable=False, reason="why"))
    assert list(csv.reader(io.StringIO(text.getvalue()))) == [
        ["file", "model_name", "model_version", "suitable", "reason", "probability", "boxes", "tube", "width", "other"],
        ['a "b",c.png', "told", "1", "true", "", "", "[]", "0.00000015", "12.0", ""],
        ["d.png", "told", "1", "false", "why", "", "[]", "", "", ""],
    ]


# ---------------------------------------------------------------------------------------------------------- the command


def command(*arguments: str | Path) -> tuple[list[str], dict[str, str]]:
    settings = {"RADSTREAM_MODELS__URL": str(PACKAGES), "RADSTREAM_CONFIG": os.devnull}
    return [sys.executable, "-m", "streams", "model", *map(str, arguments)], {**os.environ, **settings}


async def ended(*arguments: str | Path) -> tuple[int | None, str, str]:
    line, environment = command(*arguments)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*line, stdout=pipe, stderr=pipe, env=environment)
    out, err = await asyncio.wait_for(process.communicate(), 200)
    return process.returncode, out.decode(), err.decode()


async def test_score_and_evaluate_as_a_user_calls_them(shared_data: Path, tmp_path: Path) -> None:
    labels = list(csv.DictReader((shared_data / "cxr" / "labels.csv").open()))
    chosen = [row for row in labels if "Mass" in row["labels"]][:3] + [row for row in labels if row["labels"] == "No Finding"][:3]
    images = tmp_path / "images"
    images.mkdir()
    for row in chosen:
        (images / row["file"]).symlink_to(shared_data.resolve() / "cxr" / "images" / row["file"])
    (images / "notes.png").write_text("none")
    code, out, err = await ended("score", images, "--csv", "-")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0, err
    assert [row["file"] for row in rows] == sorted(str(path) for path in images.iterdir())
    assert [row["suitable"] for row in rows].count("true") == 6
    assert "7 rows in" in err and "6 seen by chest-nodule/2, 1 not" in err and "not a medical device" in err
    (tmp_path / "scores.csv").write_text(out)
    scores, folder = tmp_path / "scores.csv", tmp_path / "out"
    code, out, err = await ended(
        *("evaluate", "--labels", shared_data / "cxr" / "labels.csv", "--scores", scores, "--out", folder, "--draws", "100")
    )
    assert code == 0, err
    assert "against No Finding" in out and "label rows without a score" in out
    assert json.loads((folder / "evaluation.json").read_text())["against"]["all others"]["positives"] == 3


async def test_a_run_that_is_killed_leaves_whole_rows(shared_data: Path, tmp_path: Path) -> None:
    table = tmp_path / "out.csv"
    line, environment = command("score", shared_data / "cxr" / "images", "--csv", table)
    process = await asyncio.create_subprocess_exec(*line, stderr=asyncio.subprocess.DEVNULL, env=environment)
    async with asyncio.timeout(200):
        while not table.exists() or table.read_text().count("\n") < 4:  # a file tells nobody that it has grown
            await asyncio.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    text = table.read_text()
    assert text.endswith("\n")
    assert all(len(row) == 7 for row in csv.reader(io.StringIO(text)))


async def test_a_package_that_is_not_there_ends_it_before_a_table_is_begun(tmp_path: Path) -> None:
    table = tmp_path / "out.csv"
    table.write_text("of yesterday")
    code, _, err = await ended("score", tmp_path, "--csv", table, "--model", "chest-nodule/77")
    assert (code, table.read_text()) == (2, "of yesterday") and "chest-nodule/77" in err
