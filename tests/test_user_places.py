from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest

from constellation.user_places import cache_directory, config_directory


def test_they_are_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for found in (cache_directory(), config_directory()):
        assert found is not None
        assert Path(found).name == "constellation"
        assert Path(found).is_absolute()


def raising(*_: object, **__: object) -> str:
    raise RuntimeError("could not determine the home directory for '~/.cache'")


def leaving(*_: object, **__: object) -> str:
    return "~/.cache/constellation"


@pytest.mark.parametrize("version", [raising, leaving])
def test_a_user_without_a_home_has_none(monkeypatch: pytest.MonkeyPatch, version: object) -> None:
    monkeypatch.setattr(platformdirs, "user_cache_dir", version)
    monkeypatch.setattr(platformdirs, "user_config_dir", version)
    assert cache_directory() is None
    assert config_directory() is None
