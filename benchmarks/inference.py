"""The process that holds a model beside the bare model: what batching, the way of the pixels and the guards cost.

    .venv/bin/python benchmarks/inference.py                # 5 rounds, about 6 minutes
    .venv/bin/python benchmarks/inference.py --quick        # 1 short round: shows that it runs, its figures mean nothing

Forward pass: ready canvases of the model's own size through its network, in this process, and through the engine's process as
images that need no preprocessing. Whole images: a real radiograph, pixels to Prediction, by the same model called in this process,
and through the engine's process, where as many as a pass holds are asked at once and the last answer ends the time. Bare and ours
take turns pass by pass, so that both see the same machine; a pass begins when the one before has ended, which is the worst case:
nothing overlaps. On a GPU: images a second, and their share of what the decoders of this machine can feed it.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import multiprocessing
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import inference_figures as figures
import inference_models
import numpy as np
import pydicom
import torch
from inference_figures import Pair
from rich.console import Console

from connectors.decoding_worker import decode
from models.card import read_card
from models.image_model import ImageModel
from models.process import ModelProcess
from models.process_worker import Load
from schemas.errors import RadstreamError
from schemas.identifiers import SOPInstanceUID
from schemas.ports import Radiograph
from streams.demo.radiographs import CHEST, copy_of
from streams.settings import Settings

SIZES = (1, 2, 4, 8, 16, 32)
#: images in the passes of one size in one round, at least
IMAGES = 8
PIXEL_LIMIT = 100_000_000
console = Console(stderr=True, highlight=False, soft_wrap=True)


def _decoded(repeats: int) -> tuple[Radiograph, float]:
    """A chest, and the median milliseconds of its decoding."""
    part10 = copy_of(CHEST, accession_number="BENCH", patient_id="BENCH")
    uid = SOPInstanceUID(str(pydicom.dcmread(io.BytesIO(part10), stop_before_pixels=True).SOPInstanceUID))
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        read = decode(part10, uid, PIXEL_LIMIT)
        times.append(time.perf_counter() - begun)
    return replace(read, modality="DX", body_part_examined="CHEST", view_position="PA"), 1000 * median(times)


class Bench:
    """One model bare in this process, and the same in the engine's, asked for the same image."""

    def __init__(self, bare: ImageModel, ours: ModelProcess, pid: int, image: Radiograph) -> None:
        self._bare, self._ours, self._image = bare, ours, image
        #: clock_getcpuclockid(3) of the model's process
        self._clock = ~pid << 3 | 2

    async def pairs(self, images: int, number: int) -> list[Pair]:
        """Bare first and ours first in turn."""
        found = []
        for turn in range(number):
            times = {}
            for which in (self.bare, self.ours)[:: 1 if turn % 2 else -1]:
                begun, worked = time.perf_counter(), self._cpu()
                await which(images)
                times[which] = time.perf_counter() - begun, self._cpu() - worked
            (bare, bare_cpu), (ours, ours_cpu) = times[self.bare], times[self.ours]
            found.append(Pair(images, bare, ours, bare_cpu, ours_cpu))
        return found

    def _cpu(self) -> float:
        return time.process_time() + time.clock_gettime(self._clock)

    async def bare(self, images: int) -> None:
        for answer in self._bare.predict_all([self._image] * images):
            if isinstance(answer, RadstreamError):
                raise answer

    async def ours(self, images: int) -> None:
        await asyncio.gather(*(self._ours.predict(self._image) for _ in range(images)))


@asynccontextmanager
async def bench_of(load: Load, image: Radiograph, threads: int) -> AsyncIterator[Bench]:
    """Both loaded and warm."""
    bare = await asyncio.to_thread(load)
    before = set(multiprocessing.active_children())
    ours = await ModelProcess.start(load, batch=SIZES[-1], timeout_s=600, threads=threads)
    try:
        (process,) = set(multiprocessing.active_children()) - before
        bench = Bench(bare, ours, process.pid or 0, image)
        await bench.pairs(1, 2)
        yield bench
    finally:
        await ours.close()
        bare.close()


async def run(package: Path, device: str, threads: int, rounds: int, sizes: Sequence[int]) -> dict[str, Any]:
    torch.set_num_threads(threads)
    radiograph, decode_ms = _decoded(11)
    card = read_card(package)
    side = card.input.canvas
    canvas = np.random.default_rng(1).standard_normal((card.input.channels, side, side), dtype=np.float32)
    forward, whole, reading = (partial(load, package, device, threads) for load in inference_models.LOADS)
    measured: dict[str, list[Pair]] = {name: [] for name in figures.TITLES}
    async with (
        bench_of(forward, inference_models.as_radiograph(canvas), threads) as on_canvases,
        bench_of(whole, radiograph, threads) as on_films,
        bench_of(reading, radiograph, threads) as way,
    ):
        for number in range(rounds):
            for size in sizes:
                for name, bench in zip(figures.TITLES, (on_canvases, on_films, way), strict=True):
                    measured[name] += await bench.pairs(size, max(1, IMAGES // size))
            console.print(f"round {number + 1} of {rounds}")
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "package": f"{card.name}/{card.version}",
        "device": device,
        "threads": threads,
        "cores": os.cpu_count(),
        "decode_ms": decode_ms,
        **{name: figures.figures(pairs) for name, pairs in measured.items()},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    models = Settings().models
    parser.add_argument("--quick", action="store_true", help="1 round, passes of 1, 2 and 4")
    parser.add_argument("--rounds", type=int, default=5, help="default %(default)s")
    parser.add_argument("--package", type=Path, default=Path(models.url) / models.use[0], help="its folder, default %(default)s")
    parser.add_argument("--threads", type=int, default=models.threads, help="of the model, default %(default)s")
    parser.add_argument("--out", type=Path, default=Path("var/benchmarks/inference.json"), help="default %(default)s")
    told = parser.parse_args()
    rounds, sizes = (1, SIZES[:3]) if told.quick else (told.rounds, SIZES)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        result = asyncio.run(run(told.package, device, told.threads, rounds, sizes))
    except RadstreamError as error:
        console.print(f"[red]{type(error).__name__}[/red]", str(error), markup=True)
        return 1
    told.out.parent.mkdir(parents=True, exist_ok=True)
    told.out.write_text(json.dumps(result, indent=1) + "\n")
    for shown in figures.tables(result):
        Console(width=None if sys.stdout.isatty() else 120, highlight=False).print(shown)
    print(f"JSON: {told.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
