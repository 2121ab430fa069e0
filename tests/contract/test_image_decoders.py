from collections.abc import Iterator

import pytest

from connectors import decoding_worker
from connectors.decoding import ProcessDecoder
from schemas.identifiers import SOPInstanceUID
from schemas.ports import Radiograph
from tests.contract.image_decoder import PIXEL_LIMIT, ImageDecoderContract


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessDecoder]:
    decoder = ProcessDecoder(workers=1, timeout_s=20, memory_limit_bytes=2 * 1024**3, pixel_limit=PIXEL_LIMIT)
    yield decoder
    decoder.close()


class InProcessDecoder:
    """The worker's function without the process: for tests of steps."""

    async def decode(self, part10: bytes, expected: SOPInstanceUID) -> Radiograph:
        return decoding_worker.decode(part10, expected, PIXEL_LIMIT)


@pytest.mark.filterwarnings("ignore::UserWarning")
class TestInProcessDecoder(ImageDecoderContract):
    @pytest.fixture
    def decoder(self) -> InProcessDecoder:
        return InProcessDecoder()


class TestProcessDecoder(ImageDecoderContract):
    @pytest.fixture
    def decoder(self, processes: ProcessDecoder) -> ProcessDecoder:
        return processes
