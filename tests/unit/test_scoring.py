"""`radstream model score`: a table with one row a file, whatever stands in the files."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image, PngImagePlugin
from pydicom.data import get_testdata_file

from models.registry import self_test_image
from schemas.errors import SettingsInvalid
from streams.scoring.files import listed
from streams.scoring.images import in_order
from streams.scoring.score import run_score, with_options
from streams.settings import Settings

HEADER = ["file", "model_name", "model_version", "suitable", "reason", "probability", "boxes"]


def drawn_chest() -> np.ndarray:
    """No patient; the gate takes it for none either."""
    return np.asarray(self_test_image() / 4095 * 65535, dtype=np.uint16)


async def score(
    *named: Path, out: Path, inverted: bool = False, ignore_headers: bool = False, gate: bool = False
) -> dict[str, dict[str, str]]:
    settings = with_options(Settings(), model=None, threads=None, gate=gate)
    assert await run_score(settings, named, out, inverted=inverted, ignore_headers=ignore_headers)
    text = out.read_text(encoding="utf-8", errors="surrogateescape")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert text.splitlines()[0] == ",".join(HEADER)
    assert [row["file"] for row in rows] == sorted({row["file"] for row in rows})
    return {row["file"]: row for row in rows}


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A folder of all kinds of files."""
    folder = tmp_path / "films"
    (folder / "b").mkdir(parents=True)
    chest = drawn_chest()
    eight = Image.fromarray((chest >> 8).astype(np.uint8))
    Image.fromarray(chest).save(folder / "sixteen.png")
    eight.save(folder / "eight.png")
    eight.save(folder / "b" / "film.jpg", quality=95)
    eight.convert("RGB").save(folder / "colours.png")
    eight.convert("RGBA").save(folder / "alpha.png")
    eight.convert("CMYK").save(folder / "cmyk.jpg")
    eight.convert("P").save(folder / "palette.png")
    eight.save(folder / "animated.png", save_all=True, append_images=[eight.rotate(90)])
    content = (folder / "eight.png").read_bytes()
    (folder / "truncated.png").write_bytes(content[: len(content) // 2])
    (folder / "no-end.png").write_bytes(content[:-12])
    jpeg = (folder / "b" / "film.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.dcm").write_text("no image")
    (folder / "noise.jpg").write_bytes(b"\xff\xd8\xff" + bytes(range(256)) * 9)
    Image.new("L", (300, 300), 7).save(folder / "black.png")
    Image.new("L", (1, 1), 7).save(folder / "dot.png")
    shutil.copy(str(get_testdata_file("RG1_UNCR.dcm")), folder / "chest.dcm")
    shutil.copy(str(get_testdata_file("CT_small.dcm")), folder / "ct.dcm")
    shutil.copy(str(get_testdata_file("reportsi.dcm")), folder / "report.dcm")
    half = (folder / "chest.dcm").read_bytes()
    (folder / "half.dcm").write_bytes(half[: len(half) // 2])
    os.mkfifo(folder / "pipe.png")
    (folder / "gone.png").symlink_to(folder / "nowhere")
    (folder / "labels.csv").write_text("file,label\n")
    (folder / ".hidden.png").write_bytes(content)
    (folder / "DICOMDIR").write_bytes(half[:200])
    return folder


async def test_every_file_is_a_row(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = await score(films, films / "labels.csv", films / "eight.png", tmp_path / "absent.png", out=tmp_path / "out.csv")
    told = {Path(file).relative_to(tmp_path).as_posix(): row for file, row in rows.items()}
    assert {name for name, row in told.items() if row["suitable"] == "true"} == {
        *("films/sixteen.png", "films/eight.png", "films/b/film.jpg", "films/colours.png", "films/alpha.png"),
        *("films/cmyk.jpg", "films/palette.png", "films/chest.dcm"),
    }
    for row in told.values():
        assert (row["model_name"], row["model_version"]) == ("chest-nodule", "2")
        suitable = row["suitable"] == "true"
        assert suitable or row["suitable"] == "false"
        assert bool(row["reason"]) is not suitable and bool(row["probability"]) is suitable
        assert isinstance(json.loads(row["boxes"]), list) and (suitable or row["boxes"] == "[]")
        assert not suitable or (0 <= float(row["probability"]) <= 1 and "e" not in row["probability"])
    reasons = {name: row["reason"] for name, row in told.items() if row["reason"]}
    assert reasons == {
        "absent.png": "there is no such file",
        "films/animated.png": "the file holds several pictures",
        "films/black.png": "the image holds no contrast",
        "films/ct.dcm": "The modality is CT; this model is for CR or DX.",
        "films/dot.png": "the image holds no contrast",
        "films/empty.png": "the file is empty",
        "films/gone.png": "there is no such file",
        "films/half.dcm": "cannot be read (ValueError)",
        "films/labels.csv": "the file is neither DICOM (PS3.10), PNG nor JPEG",
        "films/no-end.png": "truncated: the picture has no end",
        "films/noise.jpg": "cannot be read (UnidentifiedImageError)",
        "films/pipe.png": "it is no regular file",
        "films/report.dcm": "no Pixel Data, or truncated",
        "films/text.dcm": "the file is neither DICOM (PS3.10), PNG nor JPEG",
        "films/truncated.jpg": "truncated or broken: its pixels cannot be read",
        "films/truncated.png": "truncated: the picture has no end",
    }
    said = capsys.readouterr().err
    assert "skipped in folders, by their names: 1 .csv, 1 DICOMDIR, 1 hidden" in said
    assert str(tmp_path) not in said and "films" not in said  # names of files may be names of persons


async def test_boxes_lie_in_the_file_s_image(films: Path, tmp_path: Path) -> None:
    (row,) = (await score(films / "chest.dcm", out=tmp_path / "out.csv")).values()
    boxes = json.loads(row["boxes"])
    header = pydicom.dcmread(films / "chest.dcm", stop_before_pixels=True)
    assert boxes
    for box in boxes:
        assert set(box) == {"left", "top", "width", "height", "probability", "kind"} and box["kind"] in ("nodule", "mass")
        assert 0 <= box["left"] < box["left"] + box["width"] <= header.Columns
        assert 0 <= box["top"] < box["top"] + box["height"] <= header.Rows


async def test_one_picture_in_any_coat_has_one_score(films: Path, tmp_path: Path) -> None:
    """Colour, alpha, 8 or 16 bits, turned by EXIF, dark where it was bright and --inverted: the same film."""
    content = Image.open(films / "eight.png")
    turned = content.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise to see it
    turned.save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(255 - np.asarray(content)).save(tmp_path / "dark.png")
    plain = await score(films, tmp_path / "turned.png", out=tmp_path / "plain.csv")
    dark = await score(tmp_path / "dark.png", out=tmp_path / "dark.csv", inverted=True)
    wanted = plain[str(films / "eight.png")]
    for row in (*(plain[str(films / f"{name}.png")] for name in ("colours", "alpha")), *dark.values()):
        assert (row["probability"], row["boxes"]) == (wanted["probability"], wanted["boxes"])
    assert plain[str(tmp_path / "turned.png")]["probability"] == wanted["probability"]
    assert float(plain[str(films / "sixteen.png")]["probability"]) == pytest.approx(float(wanted["probability"]), abs=0.06)


async def test_what_is_transparent_is_black(tmp_path: Path) -> None:
    chest = (drawn_chest() >> 8).astype(np.uint8)
    alpha = np.full(chest.shape, 255, np.uint8)
    alpha[:100] = 0
    Image.fromarray(np.dstack([chest, alpha]), "LA").save(tmp_path / "a.png")
    chest[:100] = 0
    Image.fromarray(chest).save(tmp_path / "b.png")
    a, b = (await score(tmp_path, out=tmp_path / "out.csv")).values()
    assert a["probability"] == b["probability"]


async def test_ignored_headers_are_told(tmp_path: Path) -> None:
    foot = pydicom.dcmread(str(get_testdata_file("RG1_UNCR.dcm")))
    foot.BodyPartExamined = "FOOT"
    foot.save_as(tmp_path / "foot.dcm")
    out = tmp_path / "out.csv"
    (refused,) = (await score(tmp_path / "foot.dcm", out=out)).values()
    (scored,) = (await score(tmp_path / "foot.dcm", out=out, ignore_headers=True)).values()
    said = "The body part is FOOT; this model is for CHEST."
    assert (refused["suitable"], refused["reason"], refused["probability"]) == ("false", said, "")
    assert (scored["suitable"], scored["reason"]) == ("true", f"headers ignored: {said}")
    (honest,) = (await score(Path(str(get_testdata_file("RG1_UNCR.dcm"))), out=out)).values()
    assert (scored["probability"], scored["boxes"]) == (honest["probability"], honest["boxes"])


async def test_a_child_s_film_is_refused_by_its_age(tmp_path: Path) -> None:
    child = pydicom.dcmread(str(get_testdata_file("RG1_UNCR.dcm")))
    child.PatientAge, child.PatientBirthDate = "004Y", "20000305"
    child.save_as(tmp_path / "child.dcm")
    (row,) = (await score(tmp_path / "child.dcm", out=tmp_path / "out.csv")).values()
    assert row["reason"] == "The patient's age is outside the ages of this model: from 18 years."


async def test_without_no_gate_a_drawing_is_refused(films: Path, tmp_path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "x" * 5000)
    Image.fromarray(drawn_chest()[:, ::-1].T).save(tmp_path / "lying.png", pnginfo=text)
    (row,) = (await score(tmp_path / "lying.png", out=tmp_path / "out.csv", gate=True)).values()
    assert row["reason"] == "The pixels show no frontal chest radiograph, whatever the headers say."


def test_names_are_told_as_they_were_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "a" / "deep" / "2.PNG").touch()
    (tmp_path / "a" / "1.jpg").touch()
    (tmp_path / "a" / "deep" / "round").symlink_to(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    inside = ["a/1.jpg", "a/deep/2.PNG"]
    assert listed([Path("a")]).files == inside
    assert listed([Path()]).files == inside
    assert listed([Path("a"), Path("a/1.jpg")]).files == inside
    assert listed([tmp_path / "a"]).files == [str(tmp_path / name) for name in inside]
    assert listed([Path("a")], Path("a/1.jpg")).files == inside[1:]
    assert listed([Path("a")]).skipped == {"links to a folder above": 1}


def test_a_name_that_is_no_utf_8_stays_what_it_is(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b'/caf\xe9 "x",\ny.png'
    Path(os.fsdecode(name)).write_bytes(b"")
    out = tmp_path / "out.csv"
    rows = asyncio.run(score(Path(os.fsdecode(name)), out=out))
    assert [os.fsencode(file) for file in rows] == [name]


async def test_results_keep_their_order_and_few_are_begun() -> None:
    begun = 0
    gates = [asyncio.Event() for _ in range(20)]

    async def work(number: int) -> int:
        nonlocal begun
        begun += 1
        await gates[number].wait()
        return number

    for gate in gates[1:]:
        gate.set()
    results = in_order(range(20), work, 4)
    first = asyncio.ensure_future(anext(results))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert begun == 4 and not first.done()
    gates[0].set()
    assert [await first, *[number async for number in results]] == list(range(20))


def test_a_model_without_version_is_no_model() -> None:
    with pytest.raises(SettingsInvalid, match="NAME/VERSION"):
        with_options(Settings(), model="chest-nodule", threads=None, gate=True)
    assert with_options(Settings(), model="a/2", threads=3, gate=False).models.use == ("a/2",)


async def test_where_nothing_can_be_written_nothing_is_begun(films: Path, tmp_path: Path) -> None:
    settings = with_options(Settings(), model=None, threads=None, gate=False)
    with pytest.raises(SettingsInvalid, match="--csv"):
        await run_score(settings, [films], tmp_path / "no" / "out.csv", inverted=False, ignore_headers=False)
