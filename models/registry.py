"""From a package folder to a model that may speak: card, checksum, load, fits, finite, self-test, in this order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as read_safetensors
from torch import Tensor, nn

from models.card import Card, Input, SelfTest, read_card_with_digest
from models.card_origin import Program, Remote, Weights
from models.chest_nodule_lite import ChestNoduleLite
from models.inference import PackageModel, canvas_of
from models.readings import check_shapes, deviations, has_logits, stated
from models.torch_network import TorchNetwork, device_named
from schemas.errors import ModelFailed, SettingsInvalid
from schemas.findings import ModelIdentity
from schemas.ports import Network

#: the packages that come with the source
PACKAGES = Path(__file__).parent / "packages"


def _fpn() -> nn.Module:
    from models.chest_nodule import ChestNoduleNetwork  # torchvision takes seconds to import

    return ChestNoduleNetwork()


#: of logits in bfloat16, which has eight bits: they reach about 20
FAST_TOLERANCE = 0.25
ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {"chest-nodule-fpn": _fpn, "chest-nodule-lite": ChestNoduleLite}

_ELSEWHERE = "do not use the model on this machine; compare torch's version with the lock"
_SLOWER = "set models.fast to false"

RemoteNetwork = Callable[[Remote, Sequence[str]], Network]
"""A network on a server of the site, that is asked for the tensors of these names. Raises SettingsInvalid (no such server in the
settings)."""


@dataclass(frozen=True)
class Verified:
    """A package that may speak, and how far its answer to the self-test was from the card's, in the tensor that came nearest to
    what is tolerated there."""

    identity: ModelIdentity
    deviation: float
    tolerance: float


def load(
    folder: Path,
    *,
    threads: int = 1,
    device: str = "cpu",
    remote: RemoteNetwork | None = None,
    tests: bool = False,
    fast: bool = False,
) -> PackageModel:
    """`folder`: NAME/VERSION. `threads`: torch's, of the whole process; `device`: auto, cpu or cuda; `tests`: test fixtures may be
    loaded; `fast`: see `TorchNetwork.hasten`. Raises SettingsInvalid (no package there, or a card that cannot be used here),
    ModelFailed (damaged, or not what the card promises), ModelUnavailable (its server is away)."""
    return _tested(folder, threads=threads, device=device, remote=remote, tests=tests, fast=fast)[0]


def verify(folder: Path, *, remote: RemoteNetwork | None = None, device: str = "cpu", fast: bool = False) -> Verified:
    """What `load` does, and no more. Raises as `load`."""
    model, deviation = _tested(folder, threads=1, device=device, remote=remote, tests=False, fast=fast)
    model.close()
    return Verified(model.identity, deviation.found, deviation.tolerance)


class _Deviation(NamedTuple):
    found: float
    tolerance: float

    @property
    def part(self) -> float:
        return self.found / self.tolerance


def _tested(
    folder: Path, *, threads: int, device: str, remote: RemoteNetwork | None, tests: bool, fast: bool
) -> tuple[PackageModel, _Deviation]:
    card, digest = read_card_with_digest(Card, folder)
    reference = f"{card.name}/{card.version}"
    if folder.absolute().parts[-2:] != (card.name, card.version):
        raise SettingsInvalid("load", "/".join(folder.parts[-2:]), f"its card is that of {reference}: name the folders so")
    if card.test_fixture and not tests:
        raise SettingsInvalid("load", reference, "it is a fixture of tests, with no meaning: take a package made for patients")
    torch.set_num_threads(threads)
    network = _network(folder, card, device_named(device), remote)
    try:
        deviation = _self_tested(card, network)
        if fast and isinstance(network, TorchNetwork) and network.hasten():
            # torch compiles once for one image and once for more, each when it first comes: here, and not in a pass' short time
            hastened = [_self_tested(card, network, images, fast=True) for images in (1, 2)]
            deviation = max(hastened, key=lambda one: one.part)
    except BaseException:
        network.close()
        raise
    return PackageModel(card, card.identity(digest), network), deviation


def self_test_of(network: Network, given: Input, *, heatmap: str | None, columns: Sequence[str], tolerance: float) -> SelfTest:
    """What the card of this network has to say, for whoever makes a package; `columns`: the other tensors that the card reads."""
    return stated(network(_self_test_canvas(given)), heatmap, tuple(columns), tolerance)


def _network(folder: Path, card: Card, device: torch.device, remote: RemoteNetwork | None) -> Network:
    reference = f"{card.name}/{card.version}"
    if card.remote is not None:
        if remote is None:
            raise SettingsInvalid("load", reference, "it is on an inference server, and none may be asked from here")
        return remote(card.remote, card.tensors)
    if card.program is not None:
        return _program_network(folder, card, card.program, device)
    if card.weights is None or card.architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise SettingsInvalid("load", reference, f"unknown architecture {card.architecture!r}; this version knows {known}")
    module = ARCHITECTURES[card.architecture]()
    fill(module, folder, card.weights, reference, card.architecture)
    return TorchNetwork(module, device=device, channels_last=device.type == "cuda")


def _program_network(folder: Path, card: Card, program: Program, device: torch.device) -> Network:
    from models.exported import read_program  # seconds, for those that have none

    reference = f"{card.name}/{card.version}"
    exported = read_program(stored_bytes(folder, program, reference), program, reference)
    wanted = (card.input.channels, card.input.canvas, card.input.canvas)
    if len(exported.shape) != 3 or any(size not in (None, want) for size, want in zip(exported.shape, wanted, strict=True)):
        said = f"{program.file} takes images of shape {exported.shape}, the card's input has {wanted}"
        raise ModelFailed("load", reference, f"{said}: correct the card, or export it again")
    check_finite(exported.tensors, program.file, reference)
    module = exported.module_on(device)
    network = TorchNetwork(module, device=device, most=exported.most)
    held = list(module.state_dict().values())
    before = [tensor._version for tensor in held]
    network(_self_test_canvas(card.input))
    if [tensor._version for tensor in held] != before:
        raise ModelFailed(
            "load", reference, f"{program.file} changes its own weights when it is asked: export it in evaluation mode"
        )
    return network


def fill(network: nn.Module, package: Path, weights: Weights, reference: str, architecture: str) -> None:
    """The package's weights into the network, float32, in evaluation mode. Raises ModelFailed when they are not those of the
    card, do not fit or are not finite."""
    stored = stored_bytes(package, weights, reference)
    try:
        network.load_state_dict({name: tensor.float() for name, tensor in read_safetensors(stored).items()})
    except (SafetensorError, RuntimeError) as error:
        raise ModelFailed("load", reference, f"{weights.file} does not fit {architecture}: take another package") from error
    check_finite(network.state_dict().values(), weights.file, reference)
    network.eval()


def stored_bytes(package: Path, file: Weights | Program, reference: str) -> bytes:
    """The bytes that were hashed are the bytes that are read: no second look at the file. Raises ModelFailed."""
    try:
        stored = (package / file.file).read_bytes()
    except OSError as error:
        raise ModelFailed("load", reference, f"{file.file} is missing: copy the package again, whole") from error
    if hashlib.sha256(stored).hexdigest() != file.sha256:
        raise ModelFailed("load", reference, f"{file.file} does not have the card's SHA-256: copy the package again")
    return stored


def check_finite(tensors: Iterable[Tensor], file: str, reference: str) -> None:
    """Raises ModelFailed."""
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
        raise ModelFailed("load", reference, f"{file} holds numbers that are not finite: take another package")


def self_test_image() -> NDArray[np.float32]:
    """A drawn chest, no patient: two dark fields on a bright ground, ribs, three discs. (600, 500), 0 to 4095."""
    y, x = np.mgrid[0:600, 0:500].astype(np.float32)
    image = np.full((600, 500), 3000.0, dtype=np.float32)
    for centre in (150, 350):
        image -= 1900 * np.exp(-(((x - centre) / 75) ** 4) - ((y - 270) / 190) ** 4)
    image += 120 * np.sin(y / 14) * (image < 2400)
    for column, row, radius in ((140, 200, 14), (370, 330, 28), (330, 180, 9)):
        image += 700 * np.clip(1 - ((x - column) ** 2 + (y - row) ** 2) / radius**2, 0, None) ** 0.5
    return np.clip(image, 0, 4095).astype(np.float32)


def _self_test_canvas(given: Input) -> NDArray[np.float32]:
    return canvas_of(given, self_test_image())[0].numpy()


def _self_tested(card: Card, network: Network, images: int = 1, *, fast: bool = False) -> _Deviation:
    """In the tensor that came nearest to what is tolerated. `images`: in the pass; `fast`: it was hastened. Raises ModelFailed when
    the network does not fit the card, or this machine does not get the card's answer."""
    reference = f"{card.name}/{card.version}"
    try:
        seen = network(np.repeat(_self_test_canvas(card.input), images, axis=0))
        check_shapes(card, seen, images)
    except ModelFailed as error:
        raise ModelFailed("self-test", reference, error.reason) from error
    except MemoryError as error:
        many = "one image" if images == 1 else f"{images} images at once"
        raise ModelFailed("self-test", reference, f"needs more memory than there is for {many}") from error
    least = card.self_test.tolerance
    differences = [
        _Deviation(found, max(FAST_TOLERANCE, least) if fast and has_logits(card, tensor) else least)
        for image in range(images)
        for tensor, found in deviations(card, seen, image).items()
    ]
    for one in differences:
        # written so that NaN fails
        if not one.found <= one.tolerance:
            said = f"its answer differs from the card's by {one.found:.4f}, more than {one.tolerance}"
            way = _SLOWER if fast else _ELSEWHERE
            raise ModelFailed("self-test", reference, f"{said}: {way}")
    return max(differences, key=lambda one: one.part)
