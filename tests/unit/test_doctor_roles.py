"""What `radstream doctor` says of roles: a fault is what a person must mend now."""

from __future__ import annotations

from pathlib import Path

from streams.doctor import _roles
from streams.health import Health, Shared
from streams.settings import Settings
from streams.wiring import ROLES


def test_what_nobody_can_mend_is_a_warning(tmp_path: Path) -> None:
    for role in ROLES:
        Health(tmp_path, role.replace(" ", "-")).set("ready")
    shared = Shared(Health(tmp_path, "work-keep"))
    notary, archive = shared.part("notary"), shared.part("archive")
    notary.set("ready")
    archive.set("ready", note="retention removed ai.results/0/2-4 before it was archived")
    rows = {row.what: row for row in _roles(Settings(run_folder=tmp_path))}
    kept = rows["work keep"]
    assert all(row.well for row in rows.values())
    assert kept.warning and "archive: retention removed" in kept.found
    assert not any(row.warning for role, row in rows.items() if role != "work keep")
    notary.set("ready", "nothing is signed")
    (kept,) = [row for row in _roles(Settings(run_folder=tmp_path)) if row.what == "work keep"]
    assert not kept.well and not kept.warning
    assert kept.found == "ready notary: nothing is signed; archive: retention removed ai.results/0/2-4 before it was archived"
    notary.set("paused", "the broker is away")
    (kept,) = [row for row in _roles(Settings(run_folder=tmp_path)) if row.what == "work keep"]
    assert not kept.well
