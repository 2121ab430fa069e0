"""Parts of a card: where the numbers of a package come from, how it was trained, and how good it was found."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.findings import Digest

Number = Annotated[float, Field(allow_inf_nan=False)]
_FileName = r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*\."


class Part(BaseModel):
    """Of a card: nothing in it that this version does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Weights(Part):
    """Tensors of an architecture that this version knows."""

    file: Annotated[str, Field(pattern=_FileName + "safetensors$")]
    sha256: Digest


class Program(Part):
    """A `torch.export` program: no code of ours is needed. `torch`: the version that exported it."""

    file: Annotated[str, Field(pattern=_FileName + "pt2$")]
    sha256: Digest
    torch: Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+[0-9A-Za-z.+-]*$")]


class Remote(Part):
    """A model on an inference server of the site (Open Inference Protocol v2). `server`: a name in the settings models.remotes;
    the tensors asked for are those that the card reads."""

    server: str
    model_name: str
    model_version: str
    #: of its input tensor
    input: str
    datatype: Literal["FP32"] = "FP32"
    #: whether the server has the binary tensor data extension
    binary: bool = False
    max_batch: Annotated[int, Field(ge=1)] = 1


class Training(Part):
    """For people. `stages`: how it was started, in order; `counts`: of films, patients, ..."""

    data: list[str]
    licence: list[str]
    method: str
    #: weights of others that training began with
    start: list[str] = Field(default_factory=list)
    stages: list[str] = Field(default_factory=list)
    counts: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)


class Performance(Part):
    """One measured figure: of which data, of which group of them, of how many."""

    measure: str
    value: Number
    #: 95 %, by bootstrap over patients unless `data` says otherwise
    interval: tuple[Number, Number] | None = None
    group: str = "all"
    count: Annotated[int, Field(ge=0)] | None = None
    data: str
