"""`radstream model evaluate`: scores beside labels, and what is said of them."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.evaluation.roc import area_under_curve
from schemas.errors import SettingsInvalid
from streams.scoring.evaluate import NO_PLOTS, TEXT_MINED, run_evaluate
from streams.scoring.evaluating import evaluation, joined, years_of
from streams.scoring.labels import Box, Labelled, Names, Scored, read_boxes, read_labels, read_scores
from streams.settings import Settings

POSITIVE = frozenset({"Nodule", "Mass"})


def table(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def scored(file: str, probability: float | None, *boxes: Box, reason: str = "") -> Scored:
    return Scored(file, "chest-nodule/1", not reason, reason, probability, boxes)


def labelled(file: str, positive: bool | None, patient: str | None = None, nothing: bool | None = None, **groups: str) -> Labelled:
    return Labelled(file, positive, nothing, patient, groups)


def score_row(file: str, probability: object, **others: object) -> dict[str, object]:
    told = {"file": file, "model_name": "chest-nodule", "model_version": "1", "suitable": "true", "reason": ""}
    return told | {"probability": probability, "boxes": "[]"} | others


# ----------------------------------------------------------------------------------------------------------- the tables


def test_labels_as_the_nih_publishes_them(tmp_path: Path) -> None:
    rows = [
        {"Image Index": "00000001_000.png", "Finding Labels": "Cardiomegaly|Mass", "Patient ID": "1", "Patient Age": "058Y",
         "Patient Gender": "M", "View Position": "PA"},
        {"Image Index": "00000002_000.png", "Finding Labels": "No Finding", "Patient ID": "2", "Patient Age": "81",
         "Patient Gender": "F", "View Position": "AP"},
        {"Image Index": "00000003_000.png", "Finding Labels": "", "Patient ID": "3", "Patient Age": "", "Patient Gender": "F",
         "View Position": ""},
    ]  # fmt: skip
    assert read_labels(table(tmp_path / "labels.csv", rows), POSITIVE) == [
        labelled("00000001_000.png", True, "1", False, view="PA", sex="M", age="058Y"),
        labelled("00000002_000.png", False, "2", True, view="AP", sex="F", age="81"),
        labelled("00000003_000.png", None, "3", False, view="", sex="F", age=""),
    ]


@pytest.mark.parametrize(("said", "meant"), [("1", True), ("0", False), ("TRUE", True), ("0.0", False), ("", None), ("?", None)])
def test_labels_of_yes_and_no(tmp_path: Path, said: str, meant: bool | None) -> None:
    assert read_labels(table(tmp_path / "labels.csv", [{"file": "a.png", "label": said}]), POSITIVE) == [labelled("a.png", meant)]


@pytest.mark.parametrize("content", ["", "file,label\n", "file,view\na.png,PA\n", "label\n1\n"])
def test_a_table_without_what_is_needed_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "labels.csv").write_text(content)
    with pytest.raises(SettingsInvalid, match="--labels"):
        read_labels(tmp_path / "labels.csv", POSITIVE)


def test_a_table_that_is_not_there_is_told(tmp_path: Path) -> None:
    for read in (read_scores, read_boxes):
        with pytest.raises(SettingsInvalid, match="FileNotFoundError"):
            read(tmp_path / "absent.csv")


@pytest.mark.parametrize(
    "wrong", [{"probability": "high"}, {"probability": "nan"}, {"boxes": "{"}, {"boxes": '[{"left":1}]'}, {"boxes": "7"}]
)
def test_scores_that_are_none_are_told(tmp_path: Path, wrong: dict[str, object]) -> None:
    path = table(tmp_path / "scores.csv", [score_row("a.png", 0.5) | wrong])
    with pytest.raises(SettingsInvalid, match="--scores"):
        read_scores(path)


def test_boxes_without_a_number_are_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="--boxes"):
        read_boxes(table(tmp_path / "boxes.csv", [{"file": "a.png", "left": 1, "top": 2, "width": "", "height": 4}]))


def test_a_name_means_the_file_that_it_can_only_mean() -> None:
    names = Names(["films/a/1.png", "films/b/1.png", "films/2.jpg", "films/3.png", "films/3.jpg"])
    meant = {"films/a/1.png": [0], "b/1.png": [1], "1.png": [0, 1], "2.jpg": [2], "2.png": [2], "/else/2.png": [2], "3.jpg": [4]}
    assert {file: names.meant_by(file) for file in meant} == meant
    assert names.meant_by("3.dcm") == [3, 4] and names.meant_by("4.png") == []


def test_the_last_part_of_a_uid_is_no_suffix() -> None:
    names = Names(["exp/1.2.840.1.5", "exp/1.2.840.1.7.dcm"])
    assert (names.meant_by("1.2.840.1.6"), names.meant_by("1.2.840.1.5"), names.meant_by("1.2.840.1.7")) == ([], [0], [1])


def test_a_label_of_another_patients_folder_is_of_another_image() -> None:
    """Every patient's folder holds an IM1, and only one of them was scored."""
    scores = [scored("export/p1/IM1.dcm", 0.9), scored("export/p3/IM1.dcm", 0.2)]
    rows = joined([labelled("p2/IM1.dcm", False), labelled("p1/IM1.dcm", True), labelled("p3/IM1.dcm", False)], scores)
    assert [label.file for label in rows.labels] == ["p1/IM1.dcm", "p3/IM1.dcm"]
    assert [score.file for score in rows.scores] == ["export/p1/IM1.dcm", "export/p3/IM1.dcm"]


def test_a_path_means_the_very_file_of_that_path() -> None:
    """A file beside the folders that hold others of its name."""
    paths = ["1.png", "p1/1.png"]
    rows = joined([labelled(path, path == "1.png") for path in paths], [scored(path, 0.5) for path in paths])
    assert [label.file for label in rows.labels] == [score.file for score in rows.scores] == paths
    assert rows.left_out == {}


@pytest.mark.parametrize(
    ("said", "years"), [("58", 58), ("058Y", 58), ("011M", 0), ("730D", 2), ("36.0", 36), ("", None), ("x", None)]
)
def test_an_age_in_any_of_its_spellings(said: str, years: float | None) -> None:
    assert years_of(said) == years


# ---------------------------------------------------------------------------------------------------------- the figures


def test_what_has_no_part_in_the_figures_is_counted() -> None:
    labels = [
        *(labelled("a.png", True), labelled("a.png", False), labelled("b.png", None), labelled("c.png", False)),
        *(labelled("d.png", True), labelled("absent.png", True), labelled("e.png", False)),
    ]
    scores = [
        *(scored("x/a.png", 0.9), scored("x/b.png", 0.1), scored("x/c.png", None, reason="the file is empty")),
        *(scored("x/d.png", None), scored("x/e.png", 0.2), scored("x/f.png", 0.3)),
    ]
    rows = joined(labels, scores)
    assert [label.file for label in rows.labels] == ["a.png", "e.png"] and [s.file for s in rows.scores] == ["x/a.png", "x/e.png"]
    assert rows.not_suitable == {"the file is empty": 1}
    assert rows.left_out == {
        "label rows without a score": 1,
        "label rows of a file that has one already": 1,
        "label rows that say neither yes nor no": 1,
        "images without a probability": 1,
        "scores without a label row": 1,
    }


def test_nothing_in_common_is_told() -> None:
    with pytest.raises(SettingsInvalid, match="do the file names agree"):
        joined([labelled("a.png", True)], [scored("b.png", 0.5)])


def test_several_models_are_not_one() -> None:
    other = Scored("b.png", "other/2", True, "", 0.5, ())
    rows = joined([labelled("a.png", True), labelled("b.png", False)], [scored("a.png", 0.5), other])
    with pytest.raises(SettingsInvalid, match="several models"):
        evaluation(rows, 0.5, None, 100)


def test_one_kind_of_images_gives_no_figure() -> None:
    with pytest.raises(SettingsInvalid, match="positive and negative"):
        evaluation(joined([labelled("a.png", True)], [scored("a.png", 0.5)]), 0.5, None, 100)


def test_figures_are_those_of_the_measures() -> None:
    rng = np.random.default_rng(7)
    positive = rng.random(200) < 0.3
    nothing = ~positive & (rng.random(200) < 0.5)
    probabilities = np.clip(rng.normal(0.4 + 0.2 * positive + 0.1 * (~positive & ~nothing), 0.15), 0, 1)
    labels = [
        labelled(f"{n}.png", bool(positive[n]), str(n // 2), bool(nothing[n]), sex="FM"[n % 2], age=str(20 + n % 60))
        for n in range(200)
    ]
    found = evaluation(joined(labels, [scored(f"{n}.png", probabilities[n]) for n in range(200)]), 0.5, None, 100)
    against = positive | nothing
    assert found.figures["all others"].area_under_curve.value == area_under_curve(probabilities, positive)
    assert found.figures["No Finding"].area_under_curve.value == area_under_curve(probabilities[against], positive[against])
    assert found.figures["all others"].patients == 100 and found.patients_known
    assert found.figures["all others"].sensitivity.value == (probabilities[positive] >= 0.5).mean()
    assert {name: list(several) for name, several in found.groups.items()} == {
        "sex": ["F", "M"],
        "age": ["18-39", "40-59", "60-79"],
    }
    assert found.groups["sex"]["F"].films == 100


def test_boxes_are_looked_at_where_somebody_looked() -> None:
    """c.png is positive and not marked: what its box lies on, nobody knows."""
    labels = [labelled(f"{name}.png", name in "abc") for name in "abcde"]
    scores = [
        scored("a.png", 0.9, Box(10, 10, 20, 20, 0.9)),
        scored("b.png", 0.8, Box(200, 200, 20, 20, 0.8)),
        scored("c.png", 0.7, Box(0, 0, 10, 10, 0.99)),
        scored("d.png", 0.6, Box(0, 0, 10, 10, 0.5)),
        scored("e.png", 0.1),
    ]
    lesions = {"a.jpg": [Box(12, 12, 16, 16)], "b.jpg": [Box(30, 30, 16, 16)], "absent.jpg": [Box(1, 1, 1, 1)]}
    froc = evaluation(joined(labels, scores), 0.5, lesions, 100).froc
    assert froc is not None
    assert (froc.images, froc.lesions) == (4, 2)
    assert {rate: sensitivity for rate, (sensitivity, _) in froc.at.items()} == dict.fromkeys((0.125, 0.25, 0.5, 1, 2, 4, 8), 0.5)
    assert [(p.false_positives_per_image, p.sensitivity) for p in froc.points] == [(0, 0.5), (0.25, 0.5), (0.5, 0.5)]
    with pytest.raises(SettingsInvalid, match="--boxes"):
        evaluation(joined(labels, scores), 0.5, {"absent.jpg": []}, 100)


# ----------------------------------------------------------------------------------------------------- what is written


@pytest.fixture
def written(tmp_path: Path) -> dict[str, Path]:
    rng = np.random.default_rng(3)
    rows = [{"file": f"NAME^OF^PERSON-{n}.png", "labels": "Mass" if n % 4 == 0 else "No Finding", "view": "PA"} for n in range(40)]
    box = json.dumps([{"left": 1, "top": 2, "width": 30, "height": 40, "probability": 0.8, "kind": "mass"}])
    return {
        "labels": table(tmp_path / "labels.csv", rows),
        "scores": table(tmp_path / "scores.csv", [score_row(str(row["file"]), rng.random(), boxes=box) for row in rows]),
        "boxes": table(tmp_path / "boxes.csv", [{"file": rows[0]["file"], "left": 1, "top": 2, "width": 30, "height": 40}]),
    }


def run(written: Mapping[str, Path], out: Path) -> None:
    assert run_evaluate(Settings(), (), **written, positive=POSITIVE, threshold=None, out=out, draws=100)


def test_table_json_and_plots_say_what_they_are_worth(
    written: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(written, tmp_path / "out")
    said, told = capsys.readouterr().out, json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert "against No Finding" in said and "view PA" in said and "1 marked lesions" in said
    for text in (said, *told["statement"]):
        assert "not a medical device" in text or TEXT_MINED in text
    assert "not a medical device" in said and TEXT_MINED in said and "images: no patients are told" in said
    assert told["threshold"] == 0.644 and told["against"]["all others"]["films"] == 40 and told["froc"]["lesions"] == 1
    assert "PERSON" not in said + json.dumps(told)
    for name in ("roc", "calibration", "froc"):
        with Image.open(tmp_path / "out" / f"{name}.png") as picture:
            assert len(np.unique(np.asarray(picture.convert("L")))) > 2


def test_without_matplotlib_it_says_what_to_install(
    written: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.delitem(sys.modules, "models.evaluation.plots", raising=False)
    run(written, tmp_path / "out")
    captured = capsys.readouterr()
    assert NO_PLOTS in captured.err and "against all others" in captured.out
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["evaluation.json"]
