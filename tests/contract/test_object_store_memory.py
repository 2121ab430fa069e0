import pytest

from connectors.objects import Objects, in_memory
from tests.contract.object_store import ObjectStoreContract


class TestMemory(ObjectStoreContract):
    @pytest.fixture
    def objects(self) -> Objects:
        return in_memory()
