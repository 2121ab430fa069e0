"""The supervisor on real processes: restart, kill time-out, nothing left, settings errors not repeated."""

import asyncio
import errno
import json
import os
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import SettingsInvalid
from streams.health import Health, read_health
from streams.supervisor import RoleWillNotStart, Supervisor


def a_streams_package(folder: Path, body: str) -> dict[str, str]:
    """A package `streams` whose `python -m streams.role ROLE` runs `body`: the supervisor's contract, without the engine."""
    package = folder / "streams"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "role.py").write_text(
        textwrap.dedent(
            """
            import json, os, signal, sys, time
            from pathlib import Path
            role, folder = sys.argv[1], Path(os.environ["RUN_FOLDER"])
            def say(state):
                part = folder / (role + ".part")
                part.write_text(json.dumps({"role": role, "pid": os.getpid(), "state": state, "reason": ""}))
                part.replace(folder / (role + ".json"))
            """
        )
        + textwrap.dedent(body)
    )
    return {"PYTHONPATH": str(folder), "RUN_FOLDER": str(folder / "run")}


def supervisor(folder: Path, body: str, *roles: str, kill_after_s: float = 5) -> Supervisor:
    environment = a_streams_package(folder, body)
    return Supervisor(roles, folder / "run", kill_after_s=kill_after_s, environment=environment)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # `python -m` puts the working folder first on the path


async def test_a_killed_role_is_started_again(tmp_path: Path) -> None:
    async with supervisor(tmp_path, "say('ready'); time.sleep(60)", "one", "two").running() as running:
        await running.ready(20)
        first = running.processes["one"].pid
        os.kill(first, signal.SIGKILL)
        while running.processes["one"].pid == first:
            await asyncio.sleep(0.02)
        await running.ready(20)
        assert running.restarts == {"one": 1, "two": 0}
        pids = [process.pid for process in running.processes.values()]
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_a_start_that_fails_once_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = asyncio.create_subprocess_exec
    refused: list[Any] = []

    async def no_process_once(*command: Any, **how: Any) -> asyncio.subprocess.Process:
        if not refused:
            refused.append(command)
            raise BlockingIOError(errno.EAGAIN, "no process left")
        return await start(*command, **how)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", no_process_once)
    async with supervisor(tmp_path, "say('ready'); time.sleep(60)", "one").running() as running:
        await running.ready(20)
    assert refused
    assert running.restarts == {"one": 1}


async def test_a_role_that_ignores_term_is_killed(tmp_path: Path) -> None:
    body = "signal.signal(signal.SIGTERM, signal.SIG_IGN); say('ready'); time.sleep(60)"
    async with supervisor(tmp_path, body, "deaf", kill_after_s=0.3).running() as running:
        await running.ready(20)
        process = running.processes["deaf"]
    assert process.returncode == -signal.SIGKILL


async def test_children_of_a_role_end_with_it(tmp_path: Path) -> None:
    body = """
    import subprocess
    child = subprocess.Popen(["sleep", "60"])
    (folder / "child").write_text(str(child.pid))
    say('ready'); time.sleep(60)
    """
    async with supervisor(tmp_path, body, "parent").running() as running:
        await running.ready(20)
        child = os.pidfd_open(int((tmp_path / "run" / "child").read_text()))
    ended, _, _ = select.select([child], [], [], 10)
    os.close(child)
    assert ended


async def test_invalid_settings_stop_the_engine_instead_of_being_tried_for_ever(tmp_path: Path) -> None:
    async with supervisor(tmp_path, "sys.stderr.write('the port is wrong'); sys.exit(2)", "bad").running() as running:
        with pytest.raises(RoleWillNotStart, match="bad: the port is wrong"):
            await running.ready(20)
        assert running.restarts == {"bad": 0}


async def test_settings_that_worked_once_are_tried_again(tmp_path: Path) -> None:
    """A file went missing while it ran: no reason to end all other roles."""
    body = """
    starts = folder / "starts"
    starts.write_text(starts.read_text() + "x" if starts.exists() else "x")
    count = len(starts.read_text())
    if count in (2, 3):
        sys.stderr.write("the secret is gone"); sys.exit(2)
    say("ready")
    if count == 1:
        sys.exit(1)
    time.sleep(60)
    """
    async with supervisor(tmp_path, body, "deliver").running() as running:
        async with asyncio.timeout(60):
            while running.restarts["deliver"] < 3:
                await asyncio.sleep(0.02)
        await running.ready(20)
        assert running.restarts == {"deliver": 3}


async def test_stop_during_the_start_is_no_failure(tmp_path: Path) -> None:
    async with supervisor(tmp_path, "say('starting'); time.sleep(60)", "slow").running() as running:
        asyncio.get_running_loop().call_later(0.3, running.stop)
        assert await running.ready(20) is False


async def test_who_is_not_ready_is_named(tmp_path: Path) -> None:
    body = "say('ready' if role == 'quick' else 'starting'); time.sleep(60)"
    async with supervisor(tmp_path, body, "quick", "slow").running() as running:
        with pytest.raises(TimeoutError, match="slow"):
            await running.ready(1.5)


def test_a_role_dies_with_a_killed_supervisor(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c',\n"
        "  'from streams.role import _bind_to_supervisor as b; b(); print(\"bound\", flush=True); import time; time.sleep(60)'],\n"
        "  env={**os.environ, 'RADSTREAM_SUPERVISOR': str(os.getpid())}, stdout=subprocess.PIPE, text=True)\n"
        "child.stdout.readline(); print(child.pid, flush=True); time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    handle = os.pidfd_open(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    ended, _, _ = select.select([handle], [], [], 10)
    os.close(handle)
    assert ended


def test_a_role_started_by_hand_does_not_take_the_health_of_the_running_one(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        (tmp_path / "listen.json").write_text(json.dumps({"role": "listen", "pid": other.pid, "state": "ready", "reason": ""}))
        with pytest.raises(SettingsInvalid, match=f"process {other.pid} already is this role"):
            Health(tmp_path, "listen")
        other.kill()
    Health(tmp_path, "listen").set("starting")
    assert read_health(tmp_path)["listen"].pid == os.getpid()


def test_health_is_replaced_not_torn(tmp_path: Path) -> None:
    health = Health(tmp_path, "listen")
    health.set("starting")
    health.set("paused", "append: hl7.v2.raw: the broker is away")
    said = read_health(tmp_path)["listen"]
    assert (said.state, said.pid, said.alive) == ("paused", os.getpid(), True)
    with pytest.raises(ValueError, match="none of"):
        health.set("fine")
