"""From a card's [remote] and the settings to a network."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path

import pytest

from connectors.inference import V2Network
from models.card_origin import Remote
from schemas.errors import SettingsInvalid
from streams.model_settings import RemoteSettings
from streams.remotes import remote_network

REMOTE = Remote(server="gpu", model_name="chest", model_version="3", input="x", binary=True, max_batch=8)


def test_it_is_made_in_the_process_that_asks() -> None:
    make = partial(remote_network, remotes={"gpu": RemoteSettings(url="http://127.0.0.1:8000")})
    assert isinstance(pickle.loads(pickle.dumps(make))(REMOTE, ["heatmap"]), V2Network)


@pytest.mark.parametrize(("there", "why"), [((), "there is none"), (("cpu", "another"), "there are another, cpu")])
def test_a_server_that_is_not_in_the_settings(there: tuple[str, ...], why: str) -> None:
    remotes = {name: RemoteSettings(url="http://127.0.0.1:8000") for name in there}
    with pytest.raises(SettingsInvalid, match=f"load: chest/3: no server gpu in RADSTREAM_MODELS__REMOTES; {why}"):
        remote_network(REMOTE, ["heatmap"], remotes=remotes)


def test_a_token_that_is_not_there(tmp_path: Path) -> None:
    remotes = {"gpu": RemoteSettings(url="http://127.0.0.1:8000", token_file=tmp_path / "none")}
    with pytest.raises(SettingsInvalid, match="models.remotes: credentials: .* cannot be read"):
        remote_network(REMOTE, ["heatmap"], remotes=remotes)
