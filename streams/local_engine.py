"""The whole engine beside real local services, on free ports, in one folder: what demo, end-to-end tests and benchmarks run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streams.services import LocalServices
from streams.services.probes import free_ports
from streams.settings import Settings, as_environment
from streams.supervisor import Supervisor
from streams.wiring import ROLES
from streams.wiring.clients import ensure_all_topics


def settings_for(services: LocalServices, folder: Path, **sections: dict[str, Any]) -> Settings:
    """Settings that name these services and keep everything in `folder`; `sections` adds or overrules single values."""
    values: dict[str, Any] = {
        "run_folder": folder / "run",
        "kafka": {"bootstrap": services.kafka_bootstrap},
        "mllp": {"port": free_ports(1)[0]},
        "archive": {"orthanc_url": services.orthanc_url, "dicomweb_url": services.dicomweb_url},
        "fhir": {"url": services.fhir_url},
        "database": {"url": f"sqlite:///{folder / 'radstream.db'}"},
        "objects": {"url": str(folder / "objects")},
        "audit": {
            "key_file": folder / "notary.key",
            "checkpoint_file": folder / "checkpoints.jsonl",
            "hash_key_file": folder / "hash.key",
        },
    }
    for section, items in sections.items():
        values[section] = {**values.get(section, {}), **items}
    return Settings(**values)


@dataclass(frozen=True, slots=True)
class LocalEngine:
    """A running engine and what it runs on."""

    services: LocalServices
    settings: Settings
    supervisor: Supervisor


@asynccontextmanager
async def local_engine(services: LocalServices, settings: Settings, *, ready_s: float = 120) -> AsyncIterator[LocalEngine]:
    """The engine, ready, for the length of the block. `services` must be up. Raises TimeoutError naming who is not ready."""
    settings.run_folder.mkdir(parents=True, exist_ok=True)
    await asyncio.to_thread(ensure_all_topics, settings)
    supervisor = Supervisor(
        ROLES, settings.run_folder, kill_after_s=settings.runner.kill_after_s, environment=as_environment(settings)
    )
    async with supervisor.running():
        await supervisor.ready(ready_s)
        yield LocalEngine(services, settings, supervisor)
