"""Two models that both analysed the same states: where they agree and how far they lie apart. Pure functions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from streams.shadows.agreement import Agreement, Box, Spread, Table, agreement, histogram, matches, spread


@dataclass(frozen=True, slots=True)
class Said:
    """What is compared of a result. `cause`, `answered`: the request's place, and when its first answer was written (seconds)."""

    study: str
    model: str
    reason: str
    locates: bool
    probability: float | None
    boxes: tuple[Box, ...]
    outputs: tuple[tuple[str, float, bool | None], ...]
    cause: str
    answered: float


@dataclass(frozen=True, slots=True)
class FindingsCompared:
    """`renamed`: matched, but of another kind. `changed`: states in which the two do not have the same findings."""

    matched: int
    renamed: int
    in_use_only: int
    candidate_only: int
    changed: int


@dataclass(frozen=True, slots=True)
class OutputCompared:
    """A named output that at least one of the two gives; `presence` where both have a threshold."""

    name: str
    both: int
    in_use_only: int
    candidate_only: int
    presence: Agreement | None
    shift: Spread | None


@dataclass(frozen=True, slots=True)
class ModelsCompared:
    """States that both of these analysed. Presence, findings and scores: of models that look for something with a place."""

    in_use: str
    candidate: str
    states: int
    studies: int
    presence: Agreement | None
    findings: FindingsCompared | None
    shift: Spread | None
    in_use_scores: tuple[int, ...]
    candidate_scores: tuple[int, ...]
    outputs: tuple[OutputCompared, ...]


def models_compared(in_use: str, candidate: str, pairs: Sequence[tuple[Said, Said]]) -> ModelsCompared:
    """`pairs`: what the one in use said of a state, and the candidate."""
    located = [(mine, its) for mine, its in pairs if mine.locates and its.locates]
    scored = [(mine.probability, its.probability) for mine, its in located]
    scores = [(mine, its) for mine, its in scored if mine is not None and its is not None]
    names = dict.fromkeys(name for pair in pairs for said in pair for name, _, _ in said.outputs)
    return ModelsCompared(
        in_use=in_use,
        candidate=candidate,
        states=len(pairs),
        studies=len({mine.study for mine, _ in pairs}),
        presence=_presence([(mine.study, bool(mine.boxes), bool(its.boxes)) for mine, its in located]),
        findings=_findings(located) if located else None,
        shift=spread([its - mine for mine, its in scores]),
        in_use_scores=histogram(mine for mine, _ in scores),
        candidate_scores=histogram(its for _, its in scores),
        outputs=tuple(_output(name, pairs) for name in names),
    )


def changed(mine: Said, its: Said) -> bool:
    """Whether a reader would be told something else: analysed or not, other findings, another output present."""
    if mine.reason != its.reason:
        return True
    if mine.locates and its.locates and _findings([(mine, its)]).changed:
        return True
    theirs = {name: present for name, _, present in its.outputs}
    return any(name in theirs and theirs[name] != present for name, _, present in mine.outputs)


def _presence(answers: Sequence[tuple[str, bool, bool]]) -> Agreement | None:
    studies: defaultdict[str, Table] = defaultdict(Table)
    for study, mine, its in answers:
        studies[study] = studies[study].plus(Table.of(mine, its))
    return agreement(studies.values()) if studies else None


def _findings(pairs: Sequence[tuple[Said, Said]]) -> FindingsCompared:
    matched = renamed = mine_only = its_only = different = 0
    for mine, its in pairs:
        found = matches(mine.boxes, its.boxes)
        others = sum(one.kind != other.kind for one, other in found)
        alone, new = len(mine.boxes) - len(found), len(its.boxes) - len(found)
        matched, renamed, mine_only, its_only = matched + len(found), renamed + others, mine_only + alone, its_only + new
        different += bool(others or alone or new)
    return FindingsCompared(matched, renamed, mine_only, its_only, different)


def _output(name: str, pairs: Sequence[tuple[Said, Said]]) -> OutputCompared:
    both: list[tuple[float, float]] = []
    answers: list[tuple[str, bool, bool]] = []
    mine_only = its_only = 0
    for mine, its in pairs:
        one, other = _of(name, mine), _of(name, its)
        if one is None or other is None:
            mine_only, its_only = mine_only + (one is not None), its_only + (other is not None)
            continue
        both.append((one[0], other[0]))
        if one[1] is not None and other[1] is not None:
            answers.append((mine.study, one[1], other[1]))
    shift = spread([other - one for one, other in both])
    return OutputCompared(name, len(both), mine_only, its_only, _presence(answers), shift)


def _of(name: str, said: Said) -> tuple[float, bool | None] | None:
    return next(((value, present) for its_name, value, present in said.outputs if its_name == name), None)
