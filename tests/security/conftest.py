from __future__ import annotations

from pathlib import Path

import pytest

from constellation.security import key_file, policy


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the key is by default: never in the configuration of who runs the tests."""
    path = tmp_path / "config" / "cluster.key"
    monkeypatch.setattr(key_file, "default_path", lambda: str(path))
    monkeypatch.setattr(policy, "default_path", lambda: str(path))
    return path
