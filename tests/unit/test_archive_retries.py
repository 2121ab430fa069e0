"""What is tried again inside one exchange with the archive, and for how long."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from schemas.errors import ArchiveUnavailable
from tests.contract.example_images import part10
from tests.unit.archive_peer import IMAGE, IMPATIENT_S, PATIENT_S, REFERENCE, STUDY, archive_at, good
from tests.unit.http_peer import Handler, http_peer


class Peer:
    """`bad` for the first `times` requests, then an archive that holds IMAGE. `seen`: when each request came."""

    def __init__(self, bad: Callable[[Handler], None], times: int = 1) -> None:
        self.seen: list[float] = []
        self.methods: list[str] = []
        self._bad = bad
        self._times = times

    def reply(self, handler: Handler) -> None:
        self.seen.append(time.monotonic())
        self.methods.append(handler.command)
        well = _stored if handler.command == "POST" else good
        (self._bad if len(self.seen) <= self._times else well)(handler)


def _busy(status: int, retry_after: str | None = None) -> Callable[[Handler], None]:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return lambda handler: handler.answer(status, "text/plain", b"busy", **headers)


def _stored(handler: Handler) -> None:
    """Referenced SOP Sequence (0008,1199) with one item, PS3.18 table 10.5.3-2."""
    handler.answer(200, "application/dicom+json", b'{"00081199": {"vr": "SQ", "Value": [{}]}}')


def _cut(handler: Handler) -> None:
    handler.close_connection = True


@pytest.mark.parametrize("bad", [_busy(429), _busy(502), _busy(503), _busy(504), _busy(503, "soon"), _cut])
async def test_what_passes_is_not_seen(bad: Callable[[Handler], None]) -> None:
    peer = Peer(bad, times=2)
    with http_peer(peer.reply) as url:
        async with archive_at(url) as archive:
            assert await archive.instance(STUDY, REFERENCE) == part10(IMAGE)
    assert len(peer.seen) == 3
    assert peer.seen[2] - peer.seen[1] >= 0.19, "the first try again is at once, the second is not"


async def test_an_archive_that_starts_meanwhile() -> None:
    with http_peer(good, deaf_s=0.1) as url:
        async with archive_at(url) as archive:
            assert await archive.instance(STUDY, REFERENCE) == part10(IMAGE)


async def test_as_long_as_the_archive_asks_for() -> None:
    peer = Peer(_busy(503, "1"))
    with http_peer(peer.reply) as url:
        async with archive_at(url) as archive:
            await archive.instance(STUDY, REFERENCE)
    assert peer.seen[1] - peer.seen[0] >= 0.99


async def test_but_not_past_the_deadline() -> None:
    peer = Peer(_busy(429, "3600"))
    with http_peer(peer.reply) as url:
        async with archive_at(url) as archive:
            start = time.monotonic()
            with pytest.raises(ArchiveUnavailable, match="429"):
                await archive.instance(STUDY, REFERENCE)
            assert time.monotonic() - start < PATIENT_S / 2
    assert len(peer.seen) == 1


async def test_what_does_not_pass_ends_after_five_tries() -> None:
    peer = Peer(_busy(503), times=10)
    with http_peer(peer.reply) as url:
        async with archive_at(url) as archive:
            with pytest.raises(ArchiveUnavailable, match="503"):
                await archive.instance(STUDY, REFERENCE)
    assert len(peer.seen) == 5


async def test_nor_is_a_deadline_stretched_by_tries() -> None:
    """A bad answer that hangs half-way, again and again."""

    def half(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 1000000\r\n\r\n")
        while not handler.release.wait(0.05):
            handler.wfile.write(b"x")

    with http_peer(Peer(half, times=100).reply) as url:
        async with archive_at(url, timeout_s=IMPATIENT_S) as archive:
            start = time.monotonic()
            with pytest.raises(ArchiveUnavailable):
                await archive.instance(STUDY, REFERENCE)
            assert time.monotonic() - start < 4 * IMPATIENT_S


@pytest.mark.parametrize("bad", [_busy(503), _cut])
async def test_storing_is_tried_again_too(bad: Callable[[Handler], None]) -> None:
    """Orthanc closes a kept connection after a second; the same instance stored twice is one."""
    peer = Peer(bad, times=2)
    with http_peer(peer.reply) as url:
        async with archive_at(url) as archive:
            await archive.store([part10(IMAGE)])
    assert peer.methods.count("POST") == 3
