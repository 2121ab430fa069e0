"""What the network is told of its answer."""

import torch
from torch import Tensor
from torch.nn import functional as F

PLACES = (1, 2, 3)
#: a film called sick is not always sick: labels are mined from the text of reports
BELIEF = 0.9


def places(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy of the cells, those of small nodules weighing more; overlap with the outlines; lightly, the highest cell of
    each film against whether it holds a nodule at all. (A focal loss learnt nothing within the same time.)"""
    weight = torch.where(target > 0, 1 + 20 / (target.sum(PLACES, keepdim=True) + 4).sqrt(), 1.0)
    cells = F.binary_cross_entropy_with_logits(logits, target, weight=weight)
    share = torch.sigmoid(logits)
    overlap = 1 - (2 * (share * target).sum() + 1) / (share.sum() + target.sum() + 1)
    holds = (target.amax(PLACES) > 0.5).float()
    return 3 * cells + overlap + 0.1 * F.binary_cross_entropy_with_logits(logits.amax(PLACES), holds)


def order(logits: Tensor) -> Tensor:
    """Of pairs (even: with nodule, odd: the same without): which of the two is stronger, as `models.postprocessing.strength`."""
    strengths = logits.flatten(1).logsumexp(1)
    return F.softplus(strengths[1::2] - strengths[::2]).mean()


def sickness(film: Tensor, sick: Tensor) -> Tensor:
    """The film's logit (n, 1) against whether its report names any finding (n,)."""
    return F.binary_cross_entropy_with_logits(film[:, 0], sick * BELIEF + (1 - BELIEF) / 2)
