from __future__ import annotations

import pytest

from constellation.cli.status import memory_shown


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (300 << 20, "300 MiB"),
        (1500 << 20, "1500 MiB"),
        (100 << 30, "100 GiB"),
        (24731708 << 10, "23.6 GiB"),  # of a machine
        ((2 << 30) + 1, "2 GiB"),
    ],
)
def test_memory_is_shown_in_few_characters(size: int, shown: str) -> None:
    assert memory_shown(size) == shown
