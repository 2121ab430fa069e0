"""From a network's answers to rule, figures and card. On answers that are made up; the service tests have the real ones."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.card_origin import Performance
from models.chest_nodule_lite import ChestNoduleLite
from models.postprocessing import OperatingPoint, boxes
from models.preprocessing import Placement
from models.training.figures import by_group_of_inserted, of_inserted, of_real_films
from models.training.films import NORMAL, FilmRecord
from models.training.operating import ALLOWED_BOXES, logistic, rule_of, threshold
from models.training.package import SHARPNESS, rounded, spread
from models.training.pairs import CONTRASTS, Pair
from models.training.performance import of_figures, toml
from models.training.readings import Answer, FilmReading, PairReading, Readings, Rule

PLACE = Placement.of(448, 448)
PLAIN = Rule(OperatingPoint(0.5, 0.0, 1.0, 0.0), 0.0)
BLANK = np.zeros((448, 448), np.float32)


def answer(*peaks: tuple[int, float], film: float = 0.0) -> Answer:
    """(column, logit): squares of four cells on a silent heatmap, in its 20th row."""
    heat = torch.full((112, 112), -20.0)
    for column, logit in peaks:
        heat[20:22, column : column + 2] = logit
    return Answer(heat, film, PLACE)


def film(number: int, said: Answer, *labels: str, view: str = "PA") -> FilmReading:
    named = frozenset(labels) or NORMAL
    return FilmReading(record(number, named, view), said)


def record(number: int, named: frozenset[str] = NORMAL, view: str = "PA") -> FilmRecord:
    return FilmRecord(Path(f"{number}.jpg"), str(number), 448, 448, named, view, "F", 50, "test")


def pair(number: int, without: Answer, with_nodule: Answer, diameter: float = 12.0, view: str = "PA") -> PairReading:
    """The nodule lies where a peak at column 50 is."""
    edges = (200.0, 80.0, 208.0, 88.0)
    return PairReading(Pair(record(number, view=view), BLANK, BLANK, edges, diameter, 0.1), without, with_nodule)


def test_a_logistic_regression_finds_the_curve_that_made_the_data() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(0, 2, (20_000, 2))
    truth = rng.random(20_000) < 1 / (1 + np.exp(-(1.5 * features[:, 0] - 0.5 * features[:, 1] - 0.7)))
    assert logistic(features, truth).tolist() == pytest.approx([1.5, -0.5, -0.7], abs=0.1)


def test_a_rule_reads_an_answer_as_the_engine_does() -> None:
    said = answer((50, 1.0), (80, 3.0), film=2.0)
    rule = Rule(OperatingPoint(0.6, 0.0, 0.8, -1.0), 0.3)
    point = OperatingPoint(0.6, 0.0, 0.8, -1.0 + 0.3 * 2.0)
    drawn = boxes(said.heat, PLACE, point)
    assert [p for p, _ in rule.found(said) if p >= 0.6] == [b.probability for b in drawn]
    assert len(rule.found(said)) == 2
    assert sum(a >= 0.6 for a in rule.alarms(said)) == len(drawn) == 2
    assert rule.found(said)[0][1] == (320.0, 80.0, 328.0, 88.0)


@pytest.mark.parametrize("at", [0.2, 0.5, 0.7, 0.9, 0.99])
def test_alarms_are_the_boxes_that_are_drawn_at_any_threshold(at: float) -> None:
    said = answer((50, -1.0), (60, 0.1), (80, 1.0), (90, -3.0))
    drawn = boxes(said.heat, PLACE, OperatingPoint(at, 0.0, 1.0, -1.0))
    rule = Rule(OperatingPoint(0.5, 0.0, 1.0, -1.0), 0.0)
    assert sum(alarm >= at for alarm in rule.alarms(said)) == len(drawn)


def test_the_threshold_keeps_its_promise_and_no_more() -> None:
    rng = np.random.default_rng(3)
    normal = [answer((50, float(a)), (80, float(b))) for a, b in rng.normal([1, -1], 1, (80, 2))]
    found = threshold(normal, PLAIN)
    drawn = sum(alarm >= found for each in normal for alarm in PLAIN.alarms(each))
    assert drawn / 80 <= ALLOWED_BOXES < (drawn + 2) / 80


def test_the_rule_weighs_the_film_only_for_and_never_against() -> None:
    rng = np.random.default_rng(4)
    several = [pair(n, answer(), answer((50, 2.0))) for n in range(6)]

    def films(way: float) -> list[FilmReading]:
        made = []
        for n in range(200):
            ill = n % 4 == 0
            heat, sick = rng.normal(1.0 * ill, 1), rng.normal(way * ill, 1)
            made.append(film(n, answer((50, float(heat)), film=float(sick)), *(("Mass",) if ill else ())))
        return made

    rule = rule_of(films(1.5), several)
    # the truth is 1.5 times the strength's slope
    assert rule.film_slope / rule.point.slope in (1.0, 2.0)
    assert rule.point.slope == pytest.approx(1.0, abs=0.5)
    assert rule_of(films(-1.5), several).film_slope == 0


def test_the_outline_is_where_boxes_fit() -> None:
    # a nodule with a halo: the box at 0 is the nodule's, at -2 ten times as large
    heat = torch.full((112, 112), -20.0)
    heat[14:28, 44:58] = -1.8
    heat[20:22, 50:52] = 3.0
    several = [pair(n, answer(), Answer(heat, 0.0, PLACE)) for n in range(3)]
    films = [film(n, answer((50, float(n % 7)), film=0.0), *(("Mass",) if n % 3 == 0 else ())) for n in range(40)]
    assert rule_of(films, several).point.outline >= -1.5


def test_figures_of_inserted_nodules_by_hand() -> None:
    # four films: found, found below a false box, missed, found
    several = [
        pair(1, answer(), answer((50, 3.0))),
        pair(2, answer((80, 2.5)), answer((50, 2.0), (80, 2.5)), 17.0),
        pair(3, answer((90, 4.0)), answer((90, 4.0)), 25.0),
        pair(4, answer(), answer((50, 6.0)), 25.0, view="AP"),
    ]
    found = of_inserted(several, PLAIN)
    assert (found["pairs"], found["films"], found["patients"]) == (4, 4, 4)
    # the two silent films have a region too, the faintest: at 0.5 a film the two strongest are allowed
    assert found["froc"]["0.125"] == 0.25
    assert found["froc"]["0.25"] == 0.5
    assert found["froc"]["0.5"] == found["at_half_a_false_box"]["value"] == 0.75
    assert found["at_half_a_false_box_by_mm"] == {"10-15": 1, "15-20": 1, "20-30": 0.5}
    assert found["at_threshold"] == 0.75
    assert (found["boxes_a_normal_film"], found["normal_films_without_box"]) == (0.5, 0.5)
    # each group by itself: three films of PA, of which one is allowed a false box
    by = by_group_of_inserted(several, PLAIN)
    assert list(by) == ["view", "sex", "age"]
    assert {name: each["pairs"] for name, each in by["view"].items()} == {"AP": 1, "PA": 3}
    assert by["view"]["AP"]["at_half_a_false_box"] == {"value": 1, "interval": None}
    assert by["sex"]["F"]["froc"] == found["froc"]
    # 3 of 4 films score higher with their nodule than 2.5's and below 4's
    assert 0.5 < found["films_with_against_without"]["value"] < 1


def test_what_is_drawn_only_because_it_is_the_strongest_counts_as_found() -> None:
    # a film's cells together reach the threshold, none of its regions does
    heat = torch.full((112, 112), -7.0)
    heat[20:22, 50:52] = 0.5
    several = [pair(n, answer(), Answer(heat, 0.0, PLACE)) for n in range(2)]
    rule = Rule(OperatingPoint(0.9, 0.0, 1.0, 0.0), 0.0)
    assert rule.probability(several[0].with_nodule) > 0.9 > rule.found(several[0].with_nodule)[0][0]
    assert of_inserted(several, rule)["at_threshold"] == 1


def test_figures_of_real_films_and_the_card_they_become() -> None:
    several = [
        film(1, answer((50, 2.0)), "Nodule"),
        film(2, answer((50, -1.0)), "Mass", "Effusion", view="AP"),
        film(3, answer((50, 1.0)), "Effusion", view="AP"),
        film(4, answer((50, -3.0))),
    ]
    real = of_real_films(several, PLAIN)
    assert real["against_all_others"]["area_under_curve"]["value"] == 0.75
    assert real["against_no_finding"]["area_under_curve"]["value"] == 1
    assert list(real["by"]) == list(real["by_against_no_finding"]) == ["view", "sex", "age"]
    # the film with the effusion is none of these
    assert real["by_against_no_finding"]["view"]["AP"]["films"] == real["by"]["view"]["AP"]["films"] - 1
    assert real["by"]["view"]["AP"]["area_under_curve"]["value"] == 0
    assert "area_under_curve" in real["by"]["view"]["PA"]
    pairs = [pair(n, answer((80, 1.0)), answer((50, 3.0))) for n in range(3)]
    inserted, by = dict.fromkeys(CONTRASTS, of_inserted(pairs, PLAIN)), by_group_of_inserted(pairs, PLAIN)
    figures = of_figures({"real": real, "real_squeezed": real, "inserted": inserted, "inserted_by": by})
    read = tuple(Performance(**row) for row in tomllib.loads(toml(figures))["performance"])
    assert read == figures
    measures = {p.measure for p in figures}
    assert "area under the ROC curve, Nodule or Mass against No Finding" in measures
    assert "sensitivity of localisation at 0.5 false boxes a normal film" in measures
    told = {(p.measure, p.group) for p in figures}
    assert ("sensitivity of localisation at 8.0 false boxes a normal film", "view: PA") in told
    assert any(measure.startswith("expected calibration error") and group == "view: AP" for measure, group in told)
    assert ("share of Nodule or Mass among films with a probability from 0.1 to 0.2", "all") in told
    assert len({(p.measure, p.group, p.data) for p in figures}) == len(figures)


def test_the_heatmap_is_spread_and_nothing_else() -> None:
    before = ChestNoduleLite().eval()
    after = ChestNoduleLite().eval()
    after.load_state_dict(spread(before.state_dict()))
    canvas = torch.randn(1, 1, 64, 64)
    said, wanted = after(canvas), before(canvas)
    assert torch.allclose(said["heatmap"], SHARPNESS * wanted["heatmap"], atol=1e-5)
    assert torch.equal(said["film"], wanted["film"])


def test_weights_that_do_not_fit_half_precision_are_refused() -> None:
    assert rounded(torch.ones(2, 2, 3, 3)).dtype == torch.float16
    assert rounded(torch.full((4,), 1e6)).dtype == torch.float32
    with pytest.raises(ValueError, match="half precision"):
        rounded(torch.full((2, 2, 3, 3), 1e6))


def test_figures_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from models.training.plots import draw

    several = [film(1, answer((50, 2.0)), "Nodule"), film(2, answer((50, 1.0)), "Effusion"), film(3, answer((50, -3.0)))]
    inserted = [pair(n, answer((80, 1.0)), answer((50, 3.0))) for n in range(3)]
    draw(Readings(several, several, dict.fromkeys(CONTRASTS, inserted)), PLAIN, "chest-nodule/9", tmp_path / "pictures")
    for name in ("roc", "froc", "calibration"):
        with Image.open(tmp_path / "pictures" / f"{name}.png") as picture:
            assert len(picture.convert("L").getcolors() or []) > 10, name
