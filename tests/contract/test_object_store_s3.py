"""Objects on a real S3 server, and what is said when it is away, refuses or hangs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.objects import Objects, on_s3
from schemas.errors import AccessRefused, ObjectStoreUnavailable, SettingsInvalid
from streams.services.probes import free_ports
from tests.contract.object_store import ObjectStoreContract
from tests.contract.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server, s3_server

#: the first one may have to build the server
pytestmark = [pytest.mark.service, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = s3_server(tmp_path_factory.mktemp("s3"))
    with server.running():
        yield server


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    access_key, secret_key = tmp_path / "access-key", tmp_path / "secret-key"
    access_key.write_text(f"{ACCESS_KEY}\n")
    secret_key.write_text(f"{SECRET_KEY}\n")
    return access_key, secret_key


def client(endpoint: str, keys: tuple[Path, Path], *, url: str = f"s3://{BUCKET}/a/prefix", timeout_s: float = 20) -> Objects:
    access_key, secret_key = keys
    return on_s3(
        url,
        endpoint=endpoint,
        region="us-east-1",
        access_key_file=access_key,
        secret_key_file=secret_key,
        timeout_s=timeout_s,
    )


class TestS3(ObjectStoreContract):
    @pytest.fixture
    def objects(self, server: S3Server, keys: tuple[Path, Path]) -> Objects:
        return client(server.endpoint, keys)


async def test_it_stands_under_its_prefix(server: S3Server, keys: tuple[Path, Path]) -> None:
    await client(server.endpoint, keys).put("images/a.png", b"x")
    assert await client(server.endpoint, keys, url=f"s3://{BUCKET}").get("a/prefix/images/a.png") == b"x"


async def test_a_wrong_key_is_refused_and_a_right_one_taken_when_it_comes(server: S3Server, keys: tuple[Path, Path]) -> None:
    objects = client(server.endpoint, keys)
    await objects.put("images/rotated.png", b"x")
    keys[1].write_text("no-longer-the-secret\n")
    for call in (objects.put("images/b.png", b"x"), objects.get("images/rotated.png"), objects.holds("images/rotated.png")):
        with pytest.raises(AccessRefused) as caught:
            await call
        assert "no-longer" not in f"{caught.value}" and ACCESS_KEY not in f"{caught.value}"
        assert caught.value.__cause__ is None and caught.value.__suppress_context__
    keys[1].write_text(SECRET_KEY)
    assert await objects.get("images/rotated.png") == b"x"


async def test_a_key_file_that_is_just_being_written_changes_nothing(server: S3Server, keys: tuple[Path, Path]) -> None:
    objects = client(server.endpoint, keys)
    keys[0].write_text("")
    await objects.put("images/c.png", b"x")
    keys[0].unlink()
    assert await objects.holds("images/c.png")


async def test_a_bucket_that_is_not_there_takes_nothing_silently(server: S3Server, keys: tuple[Path, Path]) -> None:
    with pytest.raises(ObjectStoreUnavailable, match="no such bucket"):
        await client(server.endpoint, keys, url="s3://another-bucket").put("images/a.png", b"x")


async def test_a_server_that_is_away_and_comes_back(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    server = s3_server(tmp_path)
    objects = client(server.endpoint, keys)
    for call in (objects.put("images/a.png", b"x"), objects.get("images/a.png"), objects.holds("images/a.png")):
        with pytest.raises(ObjectStoreUnavailable) as caught:
            await call
        assert ACCESS_KEY not in f"{caught.value}" and server.endpoint not in f"{caught.value}"
    with server.running():
        await objects.put("images/a.png", b"x")
        assert await objects.get("images/a.png") == b"x"


async def test_one_call_waits_for_a_server_that_is_just_starting(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    """Its tries reach over a restart: no pause, and nobody is told."""
    server = s3_server(tmp_path)
    objects = client(server.endpoint, keys)
    putting = asyncio.create_task(objects.put("images/a.png", b"x"))
    await asyncio.sleep(0)
    context = server.running()
    await asyncio.to_thread(context.__enter__)
    try:
        await putting
        assert await objects.get("images/a.png") == b"x"
    finally:
        context.__exit__(None, None, None)


async def test_a_server_that_hangs(keys: tuple[Path, Path]) -> None:
    (port,) = free_ports(1)
    release = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", port):
        objects = client(f"http://127.0.0.1:{port}", keys, timeout_s=0.5)
        async with asyncio.timeout(5):
            for call in (objects.put("images/a.png", b"x"), objects.get("images/a.png"), objects.holds("images/a.png")):
                with pytest.raises(ObjectStoreUnavailable):
                    await call
        release.set()


async def test_no_proxy_of_the_environment_sees_a_picture(
    server: S3Server, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (port,) = free_ports(1)
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(variable, f"http://127.0.0.1:{port}")
    objects = client(server.endpoint, keys)
    await objects.put("images/p.png", b"x")
    assert await objects.get("images/p.png") == b"x"


@pytest.mark.parametrize("content", [b"", b"two words", b"\xff\xfe", None])
def test_key_files_that_cannot_be_used(keys: tuple[Path, Path], content: bytes | None) -> None:
    keys[1].unlink()
    if content is not None:
        keys[1].write_bytes(content)
    with pytest.raises(SettingsInvalid) as caught:
        client("http://127.0.0.1:1", keys)
    assert "two" not in str(caught.value)
