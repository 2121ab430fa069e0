"""Objects by name: in a folder, on an S3 server, or in memory (obstore). A put is a file renamed when it is whole, or one PUT."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import LocalStore, MemoryStore, S3Store

from schemas.errors import AccessRefused, ObjectStoreUnavailable, SettingsInvalid

if TYPE_CHECKING:
    from obstore.store import BackoffConfig, ClientConfig, RetryConfig, S3Config, S3Credential

_STEP = "objects"
#: inside one call: a server that restarts, or says "slow down", costs a second and no pause
_RETRIES = 3
_BACKOFF: BackoffConfig = {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=1), "base": 2}


class Objects:
    """`ObjectStore`. `timeout_s`: of one call, with all its tries; of a list of names, each page of it."""

    def __init__(self, store: LocalStore | MemoryStore | S3Store, timeout_s: float) -> None:
        self._store = store
        self._timeout_s = timeout_s

    async def put(self, name: str, value: bytes) -> None:
        """See `ObjectStore.put`."""
        with self._our_errors(name):
            try:
                async with asyncio.timeout(self._timeout_s):
                    await obstore.put_async(self._store, name, value, use_multipart=False)  # of parts some may stay behind
            except FileNotFoundError:
                raise ObjectStoreUnavailable(_STEP, name, "there is no such bucket or folder") from None

    async def get(self, name: str) -> bytes | None:
        """See `ObjectStore.get`."""
        with self._our_errors(name):
            try:
                async with asyncio.timeout(self._timeout_s):
                    return bytes(await (await obstore.get_async(self._store, name)).bytes_async())
            except FileNotFoundError:
                return None

    async def holds(self, name: str) -> bool:
        """See `ObjectStore.holds`."""
        with self._our_errors(name):
            try:
                async with asyncio.timeout(self._timeout_s):
                    await obstore.head_async(self._store, name)
            except FileNotFoundError:
                return False
            return True

    async def names(self, folder: str = "") -> Sequence[str]:
        """See `ObjectStore.names`."""
        found: list[str] = []
        with self._our_errors(folder or "all objects"):
            pages = aiter(obstore.list(self._store, folder or None))
            while True:  # S3 gives a thousand names an answer: years of segments are many
                async with asyncio.timeout(self._timeout_s):
                    page = await anext(pages, None)
                if page is None:
                    return sorted(found)
                found += [one["path"] for one in page]

    @contextmanager
    def _our_errors(self, name: str) -> Iterator[None]:
        """The texts of obstore quote addresses, answers and tracebacks."""
        try:
            yield
        except (PermissionDeniedError, UnauthenticatedError, PermissionError):
            raise AccessRefused(_STEP, name, "the object store refuses access: see its keys and permissions") from None
        except TimeoutError:
            raise ObjectStoreUnavailable(_STEP, name, f"no answer within {self._timeout_s:g} s") from None
        except (BaseError, OSError) as error:
            raise ObjectStoreUnavailable(_STEP, name, f"does not answer, or cannot write ({type(error).__name__})") from None


def in_memory() -> Objects:
    """For tests."""
    return Objects(MemoryStore(), 20.0)


def in_folder(folder: Path, *, timeout_s: float) -> Objects:
    """Raises SettingsInvalid when the folder cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsInvalid(_STEP, "url", f"{folder} cannot be made: {error.strerror}") from None
    return Objects(LocalStore(folder.resolve()), timeout_s)


def on_s3(
    url: str,
    *,
    endpoint: str | None,
    region: str,
    access_key_file: Path | None,
    secret_key_file: Path | None,
    timeout_s: float,
) -> Objects:
    """`url`: s3://BUCKET/PREFIX; `endpoint`: None for Amazon's own. The two files hold a line each and are read for every request,
    so that rotated keys work; None: keys are found as Amazon's tools find them (environment, role of the machine). Raises
    SettingsInvalid when a file cannot be read."""
    address = urlsplit(url)
    client: ClientConfig = {
        "timeout": timedelta(seconds=timeout_s),
        "allow_http": endpoint is not None and urlsplit(endpoint).scheme == "http",
        # patient images go to the address of the settings, not to a proxy of the environment: this one is never used
        "proxy_url": "http://proxy.invalid",
        "proxy_excludes": "*,0.0.0.0/0,::/0",
    }
    tries: RetryConfig = {"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=timeout_s), "backoff": _BACKOFF}
    # servers that are not Amazon's have no host name for each bucket
    config: S3Config = {"region": region, "virtual_hosted_style_request": endpoint is None}
    if endpoint is not None:
        config["endpoint"] = endpoint
    prefix = address.path.strip("/") or None
    keys = _Keys(access_key_file, secret_key_file) if access_key_file and secret_key_file else None
    store = S3Store(
        address.netloc, prefix=prefix, config=config, client_options=client, retry_config=tries, credential_provider=keys
    )
    return Objects(store, timeout_s)


class _Keys:
    """While a file is just being written, what both held last: what the server refuses is told as AccessRefused."""

    def __init__(self, access_key_file: Path, secret_key_file: Path) -> None:
        self._files = access_key_file, secret_key_file
        self._last = tuple(map(_line, self._files))

    def __call__(self) -> S3Credential:
        with contextlib.suppress(SettingsInvalid):
            self._last = tuple(map(_line, self._files))
        access_key, secret_key = self._last
        return {"access_key_id": access_key, "secret_access_key": secret_key, "expires_at": datetime.now(UTC)}


def _line(file: Path) -> str:
    try:
        line = file.read_text("ascii").strip()
    except (OSError, ValueError) as error:
        raise SettingsInvalid(_STEP, "keys", f"{file} cannot be read ({type(error).__name__})") from None
    if not line or len(line.split()) != 1:
        raise SettingsInvalid(_STEP, "keys", f"{file} does not hold one line")
    return line
