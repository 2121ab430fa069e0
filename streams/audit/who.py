"""Who looks at patient data, and why: what the commands that show it ask for."""

from __future__ import annotations

from typing import Annotated

import typer

By = Annotated[
    str | None, typer.Option(metavar="WHO", help="Who looks; kept for ever on radstream.audit.", show_default="your login name")
]
Reason = Annotated[str, typer.Option(metavar="WHY", help="Why; kept for ever, so without patient data.")]

#: why, when nobody says
LOOKED = "looked at the terminal"
