"""Which inserted nodules a detector located, and where else it drew on the same films."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.evaluation.bootstrap import Interval, interval
from models.evaluation.films import FEW
from models.evaluation.froc import Boxes, Matching, froc, match, sensitivity_at
from models.training.readings import PairReading, Rule

SEED = 20261129
#: false positives a normal film at which sensitivity is told with an interval
AIM = 0.5


@dataclass(frozen=True)
class Located:
    """Of n pairs. best: (n,) highest probability of the boxes on each nodule, -inf without any. whose: (n,) patient. film: (n,)
    number of the film. false: of each film, probabilities of the boxes on it without any nodule: those beside one are not counted
    twice."""

    best: NDArray[np.float64]
    whose: NDArray[Any]
    film: NDArray[np.int64]
    false: list[list[float]]

    @classmethod
    def of(cls, several: list[PairReading], rule: Rule) -> "Located":
        normal = {r.pair.record: r.without for r in several}
        films = list(normal)
        found = [rule.found(r.with_nodule) for r in several]
        edges = np.array([box for each in found for _, box in each]).reshape(-1, 4)
        scores = np.array([p for each in found for p, _ in each])
        where = np.repeat(np.arange(len(several)), [len(each) for each in found])
        lesions = Boxes(np.arange(len(several)), np.array([r.pair.box for r in several]))
        return cls(
            match(Boxes(where, edges, scores), lesions).lesions,
            np.array([r.pair.record.patient for r in several]),
            np.array([films.index(r.pair.record) for r in several]),
            [[p for p, _ in rule.found(answer)] for answer in normal.values()],
        )

    def __len__(self) -> int:
        return len(self.best)

    def __getitem__(self, rows: NDArray[Any]) -> "Located":
        return Located(self.best[rows], self.whose[rows], self.film[rows], self.false)

    @property
    def matching(self) -> Matching:
        """A film's false boxes count as often as its pairs are among these, and so does the film."""
        return Matching(self.best, self.film, np.array([p for n in self.film for p in self.false[n]]), self.film)

    @property
    def at_aim(self) -> float:
        return sensitivity_at(self.matching, len(self), AIM)

    @property
    def figures(self) -> dict[str, Any]:
        patients = len(np.unique(self.whose))
        between = interval(self.whose, lambda rows: self[rows].at_aim, SEED) if patients >= FEW else None
        return {
            "pairs": len(self),
            "films": len(np.unique(self.film)),
            "patients": patients,
            "froc": {str(rate): share for rate, share in froc(self.matching, len(self)).items()},
            "at_half_a_false_box": with_interval(self.at_aim, between),
        }


def with_interval(value: float, between: Interval | None) -> dict[str, Any]:
    return {"value": value, "interval": list(between) if between else None}
