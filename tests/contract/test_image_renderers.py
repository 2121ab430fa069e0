from collections.abc import Iterator

import pytest

from connectors.decoding_rendering import render
from connectors.rendering import ProcessRenderer
from schemas.identifiers import SOPInstanceUID
from schemas.ports import Rendering
from tests.contract.image_decoder import PIXEL_LIMIT
from tests.contract.image_renderer import ImageRendererContract


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessRenderer]:
    renderer = ProcessRenderer(workers=1, timeout_s=20, memory_limit_bytes=2 * 1024**3, pixel_limit=PIXEL_LIMIT)
    yield renderer
    renderer.close()


class InProcessRenderer:
    """The worker's function without the process: for tests of steps."""

    async def render(self, part10: bytes, expected: SOPInstanceUID) -> Rendering:
        return render(part10, expected, PIXEL_LIMIT)


@pytest.mark.filterwarnings("ignore::UserWarning")
class TestInProcessRenderer(ImageRendererContract):
    @pytest.fixture
    def renderer(self) -> InProcessRenderer:
        return InProcessRenderer()


class TestProcessRenderer(ImageRendererContract):
    @pytest.fixture
    def renderer(self, processes: ProcessRenderer) -> ProcessRenderer:
        return processes
