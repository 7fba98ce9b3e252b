"""What a node needs on disk before it is one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import programs
import pytest

from constellation_daemons.node import places as module
from constellation_daemons.node.places import Places, UnusableCache, default_places

NODES = '[[nodes]]\nfabric_addr = "127.0.0.1:9450"\n'


def places(cache: Path) -> Places:
    store, trees, seats = (str(cache / name) for name in ("store", "programs", "seats"))
    return Places(store, 1 << 20, trees, seats)


def test_they_are_made_for_this_user_only(tmp_path: Path) -> None:
    cache = tmp_path / "new" / "cache"
    places(cache).prepare()
    places(cache).prepare()
    for name in ("store", "programs", "seats"):
        assert (cache / name).stat().st_mode & 0o077 == 0


def test_the_cache_is_that_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if sys.platform == "linux":
        assert default_places().store == str(tmp_path / "constellation" / "store")


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs as a number which its system does not know."""
    monkeypatch.setattr(module, "cache_directory", lambda: None)
    with pytest.raises(UnusableCache, match=r"no home directory; .* say with XDG_CACHE_HOME where"):
        default_places()


def test_one_that_is_read_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # What the superuser, who may run these tests, could write to all the same.
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    with pytest.raises(UnusableCache) as caught:
        places(tmp_path).prepare()
    assert str(caught.value) == (
        f"the cache directory cannot be used: {tmp_path}/store: it cannot be written to; let this "
        f"user write there, or say with XDG_CACHE_HOME where else"
    )


def test_one_of_another_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(UnusableCache, match="it belongs to another user"):
        places(tmp_path).prepare()


@pytest.mark.parametrize("command", ["node", "master"])
@pytest.mark.parametrize("inside", [False, True])
def test_a_service_whose_cache_is_a_file_says_so(
    command: str, inside: bool, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    if inside:
        (cache / "constellation").mkdir(parents=True)
        (cache / "constellation" / "store").touch()
    else:
        cache.touch()
    (tmp_path / "nodes.toml").write_text(NODES)
    more = [str(tmp_path / "nodes.toml")] if command == "master" else []
    done = subprocess.run(
        [sys.executable, "-m", "constellation", command, "--insecure", "127.0.0.1:9450", *more],
        env=programs.environment(XDG_CACHE_HOME=str(cache), XDG_CONFIG_HOME=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    told = f"Error: the cache directory cannot be used: {cache}"
    assert done.stderr.splitlines()[-1].startswith(told)


def test_a_master_that_is_no_node_keeps_nothing(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.touch()
    (tmp_path / "nodes.toml").write_text(NODES)
    words = ["master", "-v", "--insecure", "127.0.0.1:0", "--advertise", "127.0.0.1:9451"]
    with subprocess.Popen(
        [sys.executable, "-m", "constellation", *words, str(tmp_path / "nodes.toml")],
        env=programs.environment(XDG_CACHE_HOME=str(cache), XDG_CONFIG_HOME=str(tmp_path)),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        told = [next(process.stderr)]
        while "listens" not in told[-1]:
            told.append(next(process.stderr))
        process.terminate()
        assert process.wait(60) == 0, [*told, *process.stderr]
