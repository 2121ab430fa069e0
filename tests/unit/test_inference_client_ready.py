"""Whether a network on somebody's server would answer, as that server says."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from connectors.inference import V2Network
from schemas.errors import AccessRefused, ModelFailed, ModelUnavailable
from tests.unit.http_peer import Handler, http_peer

# ------------------------------------------------------------------------------------------- with our own server
from tests.unit.v2_servers import (
    CANVASES,
    TOO_LATE_S,
    Scripted,
    asked,
    drip,
    hang,
    network_at,
    well,
    with_status,
)


def _check_ready(network: V2Network, within_s: float = 20) -> None:
    try:
        network.check_ready(within_s)
    finally:
        network.close()


@pytest.mark.parametrize("told", [{}, {"ready": True}, {"name": "chest.network", "ready": True}])
def test_it_is_ready_when_its_server_says_so(told: dict[str, Any]) -> None:
    """[Health]: the status is the answer, some say no more."""
    script = Scripted(well(), ready=(200, told))
    with http_peer(script) as url:
        _check_ready(network_at(url))
    assert script.paths == ["/v2/models/chest.network/versions/1/ready"]


@pytest.mark.parametrize("told", [(200, {"ready": False}), (200, []), (400, {}), (404, {}), (500, {}), (503, {})])
def test_it_is_not_ready_otherwise(told: tuple[int, Any]) -> None:
    with http_peer(Scripted(well(), ready=told)) as url, pytest.raises(ModelUnavailable, match="the model is not ready there"):
        _check_ready(network_at(url))


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_lets_nobody_ask_is_told_so(status: int) -> None:
    """To wait would not help."""
    with (
        http_peer(Scripted(well(), ready=(status, {}))) as url,
        pytest.raises(AccessRefused, match=f"HTTP {status}: see token_file"),
    ):
        _check_ready(network_at(url))


@pytest.mark.parametrize("failed", [400, 404, 500])
def test_who_may_not_ask_why_an_answer_failed_is_told_so(failed: int) -> None:
    script = Scripted(with_status(failed), ready=(403, {}), metadata=(200, {"versions": ["1"]}))
    with http_peer(script) as url, pytest.raises(AccessRefused, match="HTTP 403: see token_file"):
        asked(network_at(url))


def test_that_versions_may_not_be_asked_for_says_nothing_of_the_model() -> None:
    """Metadata may be closed to callers, and its input is still what fails."""
    script = Scripted(with_status(500), ready=(200, {}), metadata=(403, {}))
    with http_peer(script) as url, pytest.raises(ModelFailed, match="it fails on this input"):
        asked(network_at(url))


def test_whether_it_is_ready_without_addresses_of_versions() -> None:
    script = Scripted(with_status(404), well(), metadata=(200, {"name": "chest.network"}), ready=(200, {}))
    with http_peer(script) as url:
        network = network_at(url)
        network(CANVASES[:2])
        _check_ready(network)
    assert script.paths[-1] == "/v2/models/chest.network/ready"


@pytest.mark.parametrize("reply", [hang, drip])
def test_a_server_that_hangs_is_not_ready_in_time(reply: Callable[[Handler], None]) -> None:
    with http_peer(reply) as url:
        begun = time.monotonic()
        with pytest.raises(ModelUnavailable, match="no complete answer within 0.5 s"):
            _check_ready(network_at(url, timeout_s=60), 0.5)
        assert time.monotonic() - begun < TOO_LATE_S


def test_nobody_is_not_ready() -> None:
    with http_peer(hang) as url:
        pass
    with pytest.raises(ModelUnavailable, match="no connection"):
        _check_ready(network_at(url))
