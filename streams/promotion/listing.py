"""`radstream model list`: which packages there are, which speak since when, by whose word and why, which were recalled, and which
worker uses what."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from models.card import Card, read_card_with_digest
from schemas.errors import ModelFailed, ObjectStoreUnavailable, SettingsInvalid
from streams.model_store import CARD, PackageStore, digest_of, files_of
from streams.printable import cell
from streams.promotion.acts import Acts
from streams.promotion.promoting import read_acts
from streams.settings import Settings
from streams.wiring.clients import log_for
from streams.wiring.models import package_store_for


@dataclass(frozen=True, slots=True)
class Package:
    """As it lies there: card and checksums were looked at, the self-test is of `verify`. `reason`: why it is not well."""

    name: str
    version: str
    service: str
    kind: str
    weights_sha256: str
    well: bool = True
    reason: str = ""

    @property
    def reference(self) -> str:
        """NAME/VERSION."""
        return f"{self.name}/{self.version}"


async def run_list(settings: Settings, console: Console, as_json: bool) -> None:
    """Raises BrokerUnavailable, ObjectStoreUnavailable, AccessRefused, SettingsInvalid."""
    store = package_store_for(settings)
    packages = [await _package(store, reference, settings.models.gate) for reference in await store.references()]
    async with log_for(settings) as log:
        acts = await read_acts(log)
    speaking = _speaking(packages, acts, settings)
    workers = [taken.event.model_dump(mode="json") for _, taken in sorted(acts.workers.items())]
    shadows = [act.model_dump(mode="json") for _, act in sorted(acts.shadows.items())]
    recalled = [act.model_dump(mode="json") for _, act in sorted(acts.recalled.items())]
    if as_json:
        told = {"packages": [asdict(one) for one in packages], "in_use": speaking, "shadows": shadows, "workers": workers}
        told["recalled"] = recalled
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
        return
    show(packages, speaking, {"shadow": shadows, "recalled": recalled}, workers, console)


def show(
    packages: Sequence[Package],
    speaking: Sequence[dict[str, Any]],
    acts: Mapping[str, Sequence[dict[str, Any]]],
    workers: Sequence[dict[str, Any]],
    console: Console,
) -> None:
    """`acts`: by the title of their table."""
    table = Table("package", "service", "kind", "SHA-256", "well")
    for one in packages:
        well = "yes" if one.well else f"no: {one.reason}"
        table.add_row(*map(cell, (one.reference, one.service, one.kind, one.weights_sha256[:12], well)))
    console.print(table)
    table = Table("service", "in use", "since", "approved by", "why")
    for row in speaking:
        used = f"{row['name']}/{row['version']}{' (recalled: see the workers)' if row['recalled'] else ''}"
        table.add_row(*map(cell, (row["service"], used, row["since"] or "", row["approved_by"] or "", row["reason"])))
    console.print(table)
    for title, rows in acts.items():
        table = Table(title, "package", "since", "by", "why")
        for row in rows:
            said = row.get("sandbox", ""), f"{row['name']}/{row['version']}", row["time"], row["approved_by"], row["reason"]
            table.add_row(*map(cell, said))
        if rows:
            console.print(table)
    table = Table("worker", "service", "uses", "well")
    for row in workers:
        well = "yes" if row["well"] else f"no: {row['reason']}"
        table.add_row(*map(cell, (row["worker"], row["service"], f"{row['name']}/{row['version']}", well)))
    console.print(table if workers else "no worker runs")


def _speaking(packages: list[Package], acts: Acts, settings: Settings) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for one in packages:
        if one.reference in settings.models.use:
            found[one.service] = {
                "service": one.service,
                "name": one.name,
                "version": one.version,
                "since": None,
                "approved_by": None,
                "reason": "RADSTREAM_MODELS__USE: none was promoted",
            }
    for service, act in acts.promoted.items():
        told = act.event.model_dump(mode="json", include={"service", "name", "version", "approved_by", "reason"})
        found[service] = {**told, "since": act.event.time.isoformat(timespec="seconds")}
    for row in found.values():
        row["recalled"] = f"{row['name']}/{row['version']}" in acts.recalled
    return [found[service] for service in sorted(found)]


async def _package(store: PackageStore, reference: str, gate: str | None) -> Package:
    name, _, version = reference.partition("/")
    try:
        folder = await store.folder(reference)
        return await asyncio.to_thread(_looked_at, folder, name, version, reference == gate)
    except (SettingsInvalid, ModelFailed, ObjectStoreUnavailable) as error:
        return Package(name, version, "", "", "", well=False, reason=error.reason)


def _looked_at(folder: Path, name: str, version: str, gate: bool) -> Package:
    reference = f"{name}/{version}"
    files = files_of((folder / CARD).read_bytes(), reference)
    if gate:
        found = Package(name, version, "", "gate", next(iter(files.values()), ""))
    else:
        card, digest = read_card_with_digest(Card, folder)
        if (card.name, card.version) != (name, version):
            raise SettingsInvalid("list", reference, f"its card is that of {card.name}/{card.version}")
        found = Package(name, version, card.service, _kind(card), card.identity(digest).weights_sha256)
    for file, wanted in files.items():
        try:
            right = digest_of(folder / file) == wanted
        except OSError:
            right = False
        if not right:
            raise ModelFailed("list", reference, f"{file} is missing or does not have the card's SHA-256")
    return found


def _kind(card: Card) -> str:
    kind = card.architecture or ("program" if card.program else f"on the server {card.remote.server}" if card.remote else "")
    return f"{kind} (fixture of tests)" if card.test_fixture else kind
