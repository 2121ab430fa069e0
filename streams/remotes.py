"""Networks on the inference servers of the site, which a card calls by the names of the settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from connectors.inference import V2Network
from models.card_origin import Remote
from schemas.errors import SettingsInvalid
from streams.model_settings import RemoteSettings


def remote_network(remote: Remote, tensors: Sequence[str], *, remotes: Mapping[str, RemoteSettings]) -> V2Network:
    """A `models.registry.RemoteNetwork`, with `remotes` given by functools.partial: it can be sent to another process. Raises
    SettingsInvalid (no such server, or one of its files cannot be used)."""
    server = remotes.get(remote.server)
    if server is None:
        there = f"there are {', '.join(sorted(remotes))}" if remotes else "there is none"
        reference = f"{remote.model_name}/{remote.model_version}"
        raise SettingsInvalid("load", reference, f"no server {remote.server} in RADSTREAM_MODELS__REMOTES; {there}")
    return V2Network(
        server.url,
        model_name=remote.model_name,
        model_version=remote.model_version,
        input_name=remote.input,
        output_names=tensors,
        binary=remote.binary,
        max_batch=remote.max_batch,
        timeout_s=server.timeout_s,
        token_file=server.token_file,
        tls_ca=server.tls_ca,
    )
