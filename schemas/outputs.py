"""What a model says of an image beside its located findings: that a tube is there, how large something is. Any number of such
outputs, named and coded by the model's card."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

#: how results, tables and the page call an output: e.g. central-venous-catheter
OutputName = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]


class Coding(BaseModel):
    """A concept of a terminology: system as a URI, code, and its words."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    system: str
    code: str
    display: str


class Output(BaseModel):
    """One answer of one model about one image. `unit` is UCUM, "1" for a probability; `threshold` the value from which what the
    code names is present, None where it is a measure and no presence."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: OutputName
    coding: Coding
    value: Annotated[float, Field(allow_inf_nan=False)]
    unit: str = "1"
    threshold: Annotated[float, Field(allow_inf_nan=False)] | None = None

    @property
    def present(self) -> bool | None:
        """None where there is no threshold."""
        return None if self.threshold is None else self.value >= self.threshold
