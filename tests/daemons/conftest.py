from __future__ import annotations

from collections.abc import Iterator

import local_bridge
import pytest
from local_bridge import LocalBridge


@pytest.fixture(scope="module")
def shared_bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBridge]:
    """A bridge for all tests of a module."""
    with local_bridge.bridge(tmp_path_factory.mktemp("bridge")) as bridge:
        yield bridge


@pytest.fixture
def bridge(shared_bridge: LocalBridge) -> Iterator[LocalBridge]:
    """A bridge that has nothing of a test any more when that is over."""
    before = shared_bridge.descriptors()
    yield shared_bridge
    shared_bridge.settle(before)
