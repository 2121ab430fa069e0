"""What a model in a process of its own costs in memory, and that it leaves none behind."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import sys
from pathlib import Path

import pytest

from schemas.errors import ItemNotServed
from schemas.ports import FindingModel
from tests.unit.image_models import KEPT_BYTES, number_of, radiograph, said
from tests.unit.model_processes import ended, fifos, pid_of, started

__all__ = ["fifos"]

pytestmark = pytest.mark.asyncio(loop_scope="module")


def in_shared_memory() -> set[Path]:
    return set(Path("/dev/shm").iterdir())


async def test_out_of_memory_makes_smaller_passes_of_the_same_process() -> None:
    async with started(batch=8) as model:
        first = await pid_of(model)
        answers = await asyncio.gather(*(model.predict(radiograph(n, "at-most 2")) for n in range(20)))
        assert [number_of(answer) for answer in answers] == list(range(20))
        assert {said(answer, "together") for answer in answers} == {2}
        assert await pid_of(model) == first
        with pytest.raises(ItemNotServed, match="more memory than there is"):
            await model.predict(radiograph(1, "at-most 0"))


async def test_memory_of_a_pass_is_kept_for_the_next_one() -> None:
    """New pages for each pass cost a quarter of its time."""
    passes = 5
    async with started() as model:
        pid = await pid_of(model)
        await filled(model)
        before = faults(pid)
        for _ in range(passes):
            await filled(model)
        assert faults(pid) - before < passes * KEPT_BYTES / resource.getpagesize() / 4


async def filled(model: FindingModel) -> None:
    assert number_of(await model.predict(radiograph(1, "fill"))) == 1


def faults(pid: int) -> int:
    """minflt of proc_pid_stat(5): pages that the kernel had to find."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[7])


async def test_the_memory_of_the_parent_does_not_grow() -> None:
    async with started(batch=2) as model:

        async def ask(times: int) -> None:
            for _ in range(times):
                await asyncio.gather(*(model.predict(film) for film in films))

        films = [radiograph(n, side=2000) for n in range(2)]  # 8 MB each
        await ask(5)
        gc.collect()
        before = resident()
        await ask(50)
        gc.collect()
        assert resident() - before < 16 * 1024**2, "of 800 MB that were sent"


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


PARENT = """
import asyncio, sys
from models.process import ModelProcess
from tests.unit import image_models

async def main() -> None:
    model = await ModelProcess.start(image_models.load)
    answer = await model.predict(image_models.radiograph(side=2000))
    print("torch" in sys.modules, image_models.number_of(answer))
    await model.predict(image_models.radiograph(1, sys.argv[1], side=2000))
    await model.close()

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    return script


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}


async def test_the_parent_never_imports_torch(parent: Path) -> None:
    command, pipe = (sys.executable, parent, ""), asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, env=environment())
    told, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0 and told.split() == [b"False", b"0"]


async def test_a_parent_that_is_killed_leaves_nothing_behind(parent: Path, fifos: tuple[Path, Path]) -> None:
    """Also with an image in the process, which sees no end of its pipe then."""
    out, back = fifos
    before = in_shared_memory()
    process = await asyncio.create_subprocess_exec(sys.executable, parent, f"held {out} {back}", env=environment())
    wait = ended(int(await asyncio.to_thread(out.read_text)))
    process.kill()
    await asyncio.to_thread(wait)
    await process.wait()
    assert in_shared_memory() <= before


async def test_a_process_that_is_killed_leaves_nothing_behind(fifos: tuple[Path, Path]) -> None:
    """Neither in /dev/shm nor open in the parent."""
    out, back = fifos
    before = in_shared_memory()
    async with started() as model:
        opened = None
        for _ in range(3):
            asked = asyncio.create_task(model.predict(radiograph(1, f"held {out} {back}", side=2000)))
            os.kill(int(await asyncio.to_thread(out.read_text)), signal.SIGKILL)
            await asyncio.to_thread(out.read_text)
            await asyncio.to_thread(back.write_text, "go")
            await asked
            gc.collect()
            now = len(list(Path("/proc/self/fd").iterdir()))
            opened = opened or now
            assert now == opened
    assert in_shared_memory() <= before
