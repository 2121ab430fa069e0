"""Pictures for people, made in the processes that decode."""

from __future__ import annotations

from connectors.decoding import DecodingProcesses
from connectors.decoding_rendering import render
from schemas.identifiers import SOPInstanceUID
from schemas.ports import Rendering


class ProcessRenderer(DecodingProcesses[Rendering]):
    """`ImageRenderer`."""

    function = staticmethod(render)

    async def render(self, part10: bytes, expected: SOPInstanceUID) -> Rendering:
        """See `ImageRenderer.render`."""
        return await self.run(part10, expected)
