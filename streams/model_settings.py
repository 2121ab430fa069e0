"""Settings of models: where packages are, which speak, how they run, who serves them to others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from streams.section import Door, Peer, Port, Seconds, Section

#: NAME/VERSION
PackageReference = Annotated[str, Field(pattern=r"^[a-z0-9-]+/[0-9A-Za-z][0-9A-Za-z.-]*$")]


class RemoteSettings(Peer):
    """An inference server of the site (Open Inference Protocol v2: Triton, KServe, another radstream). A card names it by its name
    here: a package says how it is asked, the site alone where images go."""

    url: str
    token_file: Path | None = None
    #: authorities of its certificate; None: the public ones
    tls_ca: Path | None = None
    timeout_s: Seconds = 20.0


class ModelSettings(Section):
    """`url`: folder, or s3://BUCKET/PREFIX (with endpoint and keys of the object store), that holds NAME/VERSION/card.toml."""

    url: str = "models/packages"
    #: which speak until another is promoted: one of each service
    use: Annotated[tuple[PackageReference, ...], Field(min_length=1)] = ("chest-nodule/2",)
    #: the gate that looks at the pixels (frontal chest or not), None: headers are believed
    gate: PackageReference | None = "chest-gate/1"
    #: copies of packages that are not in a folder
    copies: Path = Path("var/models")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    #: on CUDA: bfloat16 and torch.compile; answers then differ in the third digit
    fast: bool = False
    #: with more, whatever else runs on their cores stalls all of them
    threads: Annotated[int, Field(ge=1)] = 1
    #: images at most in one forward pass (more pay on a GPU; on a CPU whoever is urgent waits for the pass under way), and how
    #: long the first of them waits for others
    batch: Annotated[int, Field(ge=1, le=256)] = 1
    batch_wait_ms: Annotated[float, Field(ge=0, le=1000)] = 0.0
    #: from the request of one image to its answer, beyond which the process that holds the model is ended
    timeout_s: Seconds = 60.0
    remotes: dict[str, RemoteSettings] = Field(default_factory=dict)


class ServingSettings(Door):
    """Where `radstream model serve` answers."""

    port: Port = 8091
    #: a bearer token that callers must show; None: whoever reaches the port
    token_file: Path | None = None
    #: largest request body, in bytes
    size_limit: Annotated[int, Field(gt=0)] = 256 * 1024 * 1024

    @model_validator(mode="after")
    def _beyond_loopback_nobody_unknown(self) -> Self:
        if self.token_file is None and self.host not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError("beyond loopback a token_file is needed")
        return self
