"""Nodules put into normal films, in the log-attenuation domain.

A detector signal I falls to I * exp(-mu * excess) behind `excess` mm of more soft tissue; on a logarithmic grey scale that is an
*addition* proportional to excess. The public films are 8-bit and already windowed, close to logarithmic, with unknown slope. We
estimate the slope from the film itself: lung and densest tenth of the central area differ by about 110 mm of water-equivalent
path (a 230 mm chest against 60 mm of wall plus lung at a quarter of water's density). Vendors lift small structures over that
global slope; `enhancement` says by how much (1 = not at all). Measured on real films: the masses of RG1_UNCR stand out by 0.5 to
1.3 times the slope per mm of diameter, and the peak path of the projections is about 0.55 of the diameter: 1.0 to 2.3. The
faintest of them that can still be outlined by hand adds 0.08 of the film's grey range.
Towards white the curve's shoulder flattens: the contrast fades linearly to zero at white.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from models.local_contrast import STRIDE
from models.preprocessing import CANVAS, standardise
from models.training.films import PROJECTION, Film, Nodules

LUNG_TO_DENSE_MM = 110.0
MM_PER_PIXEL = 0.95
#: a mass is not thicker than this along the ray, however wide
LONGEST_PATH_MM = 60.0
#: the silhouette counts as nodule where it adds at least this share of its own peak
RIM = 0.25
#: nodules per film at most
MOST = 3


@dataclass(frozen=True)
class Insertion:
    """One nodule: projection (50, 50) in mm of path, the diameter it is brought to by `factor`, centre in canvas pixels, turn in
    radians, mirrored or not."""

    excess: NDArray[np.float32]
    diameter_mm: float
    x: float
    y: float
    factor: float
    turn: float
    mirrored: bool
    enhancement: float
    #: what is added at the peak, in shares of the film's grey range, at least: what nobody could see would teach noise
    faintest: float

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        nodules: Nodules,
        film: Film,
        diameters_mm: tuple[float, float],
        enhancement: tuple[float, float],
        faintest: float,
    ) -> "Insertion":
        """Diameter log-uniform in the range, place uniform over the film's lung cells."""
        diameter = float(np.exp(rng.uniform(*np.log(diameters_mm))))
        excess, factor = nodules.draw(rng, diameter)
        x, y = film.lungs[int(rng.integers(len(film.lungs)))].tolist()
        turn, mirrored, lift = float(rng.uniform(0, 2 * np.pi)), bool(rng.random() < 0.5), float(rng.uniform(*enhancement))
        return cls(excess, diameter, x, y, factor, turn, mirrored, lift, faintest)

    def contrast(self, film: Film) -> NDArray[np.float32]:
        """(50, 50): what it adds in lung, in shares of the film's linear grey range."""
        path = LONGEST_PATH_MM * np.tanh(self.excess * self.factor / LONGEST_PATH_MM)
        added = path * self.enhancement * (film.dense_level - film.lung_level) / LUNG_TO_DENSE_MM
        lifted: NDArray[np.float32] = (added * max(1.0, self.faintest / float(added.max()))).astype(np.float32)
        return lifted


@dataclass(frozen=True)
class View:
    """Which part of the canvas is looked at: centre in canvas pixels, zoom (>1 enlarges), turn, mirrored; stretch: of columns and
    of rows, for pictures that were squeezed to a square."""

    x: float = CANVAS / 2
    y: float = CANVAS / 2
    zoom: float = 1.0
    turn: float = 0.0
    mirrored: bool = False
    stretch: tuple[float, float] = (1.0, 1.0)

    def matrix(self) -> NDArray[np.float64]:
        """2 x 3: view pixels relative to the view's centre -> canvas pixels."""
        turned = _turn(self.turn, self.mirrored) / self.zoom / np.array(self.stretch)
        return np.concatenate([turned, [[self.x], [self.y]]], 1)


def _turn(angle: float, mirrored: bool) -> NDArray[np.float64]:
    cosine, sine = np.cos(angle), np.sin(angle)
    turned = np.array([[cosine, -sine], [sine, cosine]])
    return turned * np.array([-1.0, 1.0]) if mirrored else turned


def _sample(source: Tensor, matrices: NDArray[np.float64], size: int) -> Tensor:
    """source (n, 1, s, s) read at matrices (n, 2, 3), view pixels relative to the centre -> source pixels; 0 outside."""
    side = source.shape[-1]
    theta = matrices.copy()
    theta[:, :, :2] *= size / side
    theta[:, :, 2] = theta[:, :, 2] * 2 / side - 1
    grid = F.affine_grid(torch.from_numpy(theta).float(), [len(source), 1, size, size], align_corners=False)
    return F.grid_sample(source, grid, padding_mode="zeros", align_corners=False)


def render(films: list[Film], insertions: list[list[Insertion]], views: list[View], size: int) -> tuple[Tensor, Tensor]:
    """Films with nodules seen through views -> linear greys (n, 1, size, size) and nodule share (n, 1, size/4, size/4)."""
    count = len(films)
    looks = np.stack([v.matrix() for v in views])
    greys = _sample(torch.stack([f.linear for f in films])[:, None].float(), looks, size)
    added = torch.zeros_like(greys)
    silhouette = torch.zeros_like(greys)
    for layer in range(max((len(i) for i in insertions), default=0)):
        projections = np.zeros((count, 1, PROJECTION, PROJECTION), dtype=np.float32)
        matrices = np.zeros((count, 2, 3))
        for n, (film, several, look) in enumerate(zip(films, insertions, looks, strict=True)):
            if layer >= len(several):
                continue
            nodule = several[layer]
            projections[n, 0] = nodule.contrast(film)
            turned = _turn(nodule.turn, nodule.mirrored) * MM_PER_PIXEL / nodule.factor
            matrices[n, :, :2] = turned @ look[:, :2]
            matrices[n, :, 2] = turned @ (look[:, 2] - (nodule.x, nodule.y)) + PROJECTION / 2
        peaks = torch.from_numpy(projections.max(axis=(2, 3), keepdims=True)).clamp(min=1e-6)
        layer_added = _sample(torch.from_numpy(projections), matrices, size)
        added += layer_added
        silhouette = torch.maximum(silhouette, (layer_added > RIM * peaks).float())
    lung = torch.tensor([f.lung_level for f in films]).view(-1, 1, 1, 1)
    white = 1.04
    greys = greys + added * ((white - greys) / (white - lung)).clamp(0, 1)
    return greys, F.avg_pool2d(silhouette, STRIDE)


def vary(rng: np.random.Generator, greys: Tensor, exponents: list[float]) -> Tensor:
    """Linear greys -> standardised network input, as if taken by other equipment: curve, contrast, unsharp mask, blur, noise."""
    count = len(greys)

    def uniform(low: float, high: float) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, (count, 1, 1, 1))).float()

    exponent = torch.tensor(exponents).view(-1, 1, 1, 1) * torch.exp(uniform(-0.4, 0.4))
    black, white = uniform(-0.06, 0.1), uniform(0.88, 1.08)
    varied = ((greys - black) / (white - black)).clamp(0, 1) ** exponent
    cells = int(rng.choice([4, 8, 16]))
    blurred = F.interpolate(F.avg_pool2d(varied, cells), scale_factor=cells, mode="bilinear", align_corners=False)
    varied = varied + uniform(-0.25, 0.9) * (varied - blurred)
    if rng.random() < 0.3:
        varied = F.avg_pool2d(varied, 3, 1, 1)
    noise = torch.from_numpy(rng.standard_normal(varied.shape, dtype=np.float32))
    return standardise((varied + noise * uniform(0, 0.03)).clamp(-0.1, 1.1))
