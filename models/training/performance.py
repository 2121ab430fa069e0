"""Figures as the card names them: one measured number each, with its interval, group, count and data."""

from collections.abc import Iterator
from typing import Any

from models.card_origin import Performance
from models.training.pairs import CONTRAST_OF_GROUPS

REAL = "{films} films of {patients} patients of the test split, {positives} of them labelled Nodule or Mass (text-mined)"
INSERTED = (
    "{pairs} inserted nodules of 10 to 30 mm, contrast {contrast}, in {films} normal films of {patients} patients of the test split"
)
LOCATED = "sensitivity of localisation at {} false boxes a normal film"

MEASURES = {
    "area_under_curve": "area under the ROC curve, Nodule or Mass against {}",
    "sensitivity": "sensitivity at the threshold",
    "specificity": "specificity at the threshold, {}",
    "calibration_error": "expected calibration error (its interval lies high: drawn bins are noisier), {}",
}


def of_figures(result: dict[str, Any]) -> tuple[Performance, ...]:
    """All that `models.training.figures.figures` found and that fits in a line."""
    return (
        *_real(result["real"]),
        *(_squeezed(one) for one in _real(result["real_squeezed"]) if one.group == "all"),
        *(one for name, found in result["inserted"].items() for one in _inserted(name, found)),
        *_inserted_by(result["inserted_by"]),
    )


def _squeezed(one: Performance) -> Performance:
    return one.model_copy(update={"data": f"{one.data}, squeezed to a square as they are published"})


def _real(found: dict[str, Any]) -> Iterator[Performance]:
    tables = {"all others": found["against_all_others"], "No Finding": found["against_no_finding"]}
    for against, table in tables.items():
        data = REAL.format(**table)
        for name, measure in MEASURES.items():
            if name in table and (name != "sensitivity" or against == "all others"):
                yield _performance(measure.format(against), table[name], data, table["films"])
    # most PA films of the data are sick, most normal ones AP: specificity by group is told of normal films alone
    for by, against, names in (
        ("by", "all others", ("area_under_curve", "sensitivity", "calibration_error")),
        ("by_against_no_finding", "No Finding", ("area_under_curve", "specificity")),
    ):
        rows = [(f"{what}: {name}", table) for what, groups in found[by].items() for name, table in groups.items()]
        for group, table in rows:
            for name in names:
                if name in table:
                    measure = MEASURES[name].format(against)
                    yield _performance(measure, table[name], REAL.format(**table), table["films"], group)

    for one in found["reliability"]:
        measure = f"share of Nodule or Mass among films with a probability from {one['low']:.1f} to {one['high']:.1f}"
        yield _performance(measure, {"value": one["true"]}, REAL.format(**tables["all others"]), one["images"])


def _inserted(contrast: str, found: dict[str, Any]) -> Iterator[Performance]:
    data = INSERTED.format(**found, contrast=contrast)
    yield from _froc(found, data)
    for size, value in found["at_half_a_false_box_by_mm"].items():
        yield _performance(LOCATED.format(0.5), {"value": value}, data, None, f"{size} mm")
    yield _performance("sensitivity of localisation at the threshold", {"value": found["at_threshold"]}, data, found["pairs"])
    area = "area under the ROC curve, films with against the same without"
    yield _performance(area, found["films_with_against_without"], data, found["pairs"])
    if contrast.endswith("0.08"):  # the same for all: of the untouched films
        normal = "{films} normal films of {patients} patients of the test split".format(**found)
        yield _performance("boxes a film at the threshold", {"value": found["boxes_a_normal_film"]}, normal, found["films"])
        yield _performance("share of films without a box", {"value": found["normal_films_without_box"]}, normal, found["films"])


def _inserted_by(found: dict[str, Any]) -> Iterator[Performance]:
    for what, groups in found.items():
        for name, of_group in groups.items():
            yield from _froc(of_group, INSERTED.format(**of_group, contrast=CONTRAST_OF_GROUPS), f"{what}: {name}")


def _froc(found: dict[str, Any], data: str, group: str = "all") -> Iterator[Performance]:
    yield _performance(LOCATED.format(0.5), found["at_half_a_false_box"], data, found["pairs"], group)
    for rate, value in found["froc"].items():
        if float(rate) != 0.5:
            yield _performance(LOCATED.format(rate), {"value": value}, data, found["pairs"], group)


def _performance(measure: str, figure: dict[str, Any], data: str, count: int | None, group: str = "all") -> Performance:
    between = figure.get("interval")
    interval = (round(between[0], 4), round(between[1], 4)) if between else None
    return Performance(measure=measure, value=round(figure["value"], 4), interval=interval, group=group, count=count, data=data)


def toml(several: tuple[Performance, ...]) -> str:
    """Tables [[performance]]; texts hold neither quotes nor backslashes."""
    tables = []
    for figure in several:
        lines = ["[[performance]]"]
        for name, value in figure.model_dump(exclude_none=True).items():
            said = f'"{value}"' if isinstance(value, str) else str(list(value)) if isinstance(value, tuple) else str(value)
            lines.append(f"{name} = {said}")
        tables.append("\n".join(lines))
    return "\n\n".join(tables)
