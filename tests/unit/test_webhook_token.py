"""The token of the webhook: who shows it gets in, and nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import SettingsInvalid
from tests.unit.webhook_caller import STUDY, TOKEN, listening
from tests.unit.webhook_caller import token_file as token_file  # the fixture `token`


async def test_health_needs_no_token(token: Path) -> None:
    async with listening(token) as caller:
        assert (await caller.ask("GET", "/health", token=None)).status_code == 200


@pytest.mark.parametrize("shown", [None, "", "second-t0ken", "first-t0ke", "first-t0ken2", "t\u00f6ken"])
async def test_without_the_token_nothing_is_taken(token: Path, shown: str | None) -> None:
    headers = {} if shown is None else {"Authorization": f"Bearer {shown}".encode()}
    async with listening(token) as caller:
        answer = await caller.post({"study_instance_uid": STUDY}, token=None, headers=headers)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="radstream"')
        basic = await caller.post({"study_instance_uid": STUDY}, token=None, headers={"Authorization": f"Basic {TOKEN}"})
        assert basic.status_code == 401
        assert caller.told == []


async def test_a_rotated_token_works_at_once_and_the_old_one_no_more(token: Path) -> None:
    async with listening(token) as caller:
        token.write_text("second-t0ken")
        assert (await caller.post({"study_instance_uid": STUDY})).status_code == 401
        assert (await caller.post({"study_instance_uid": STUDY}, token="second-t0ken")).status_code == 202


async def test_while_the_file_holds_no_token_nobody_gets_in(token: Path) -> None:
    async with listening(token) as caller:
        for spoil in (lambda: token.write_text(""), token.unlink):
            spoil()
            answer = await caller.post({"study_instance_uid": STUDY})
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert caller.told == []


async def test_a_token_file_that_cannot_be_used_is_told_at_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="webhook: credentials: .* cannot be read"):
        async with listening(tmp_path / "none"):
            pass
