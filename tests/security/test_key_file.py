from __future__ import annotations

import os
import pickle
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import platformdirs
import pytest
from zmq import auth

from constellation.security import key_file
from constellation.security.errors import (
    ClusterKeyError,
    KeyFileError,
    KeyFileExists,
    NoClusterKey,
)
from constellation.security.key_file import ensure_key_file, make_key_file, read_key_file
from constellation.security.keypair import Keypair


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "deep" / "down" / "a.key")


def mode(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def test_what_is_made_is_read_back(path: str) -> None:
    made = make_key_file(path)
    assert read_key_file(path) == made
    assert os.listdir(os.path.dirname(path)) == ["a.key"]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_only_its_owner_may_use_it_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    path = str(tmp_path / "a.key")
    before = os.umask(umask)
    try:
        make_key_file(path)
    finally:
        os.umask(before)
    assert mode(path) == 0o600


def test_nor_may_others_look_into_the_directory_that_is_made(path: str) -> None:
    make_key_file(path)
    assert mode(os.path.dirname(path)) == 0o700


def test_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert make_key_file("a.key") == read_key_file(str(tmp_path / "a.key"))


def test_other_tools_of_zeromq_can_read_it(path: str) -> None:
    made = make_key_file(path)
    assert auth.load_certificate(path) == (made.public, made.secret)


def test_and_what_they_write_is_read(tmp_path: Path) -> None:
    _, path = auth.create_certificates(tmp_path, "other")
    os.chmod(path, 0o600)
    public, secret = auth.load_certificate(path)
    assert read_key_file(path) == Keypair(public, secret or b"")


def test_what_is_there_is_not_replaced(path: str) -> None:
    made = make_key_file(path)
    with pytest.raises(KeyFileExists, match=r"there is one already.*--force"):
        make_key_file(path)
    assert read_key_file(path) == made


def test_unless_that_is_what_is_wanted(path: str) -> None:
    made = make_key_file(path)
    os.chmod(path, 0o644)
    again = make_key_file(path, replace=True)
    assert again != made
    assert read_key_file(path) == again
    assert mode(path) == 0o600
    assert os.listdir(os.path.dirname(path)) == ["a.key"]


@pytest.mark.parametrize("make", [ensure_key_file, make_key_file])
def test_many_that_make_it_at_once_have_one_key(
    path: str, make: Callable[[str], Keypair], monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(8)
    new = Keypair.new

    def all_new() -> Keypair:
        together.wait()  # each has found nothing, and makes one
        return new()

    monkeypatch.setattr(Keypair, "new", all_new)

    def one(_: int) -> Keypair | None:
        try:
            return make(path)
        except KeyFileExists:
            return None

    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(one, range(8)))
    assert set(keys) - {None} == {read_key_file(path)}
    assert keys.count(None) == (0 if make is ensure_key_file else 7)
    assert os.listdir(os.path.dirname(path)) == ["a.key"]


def test_it_is_kept_once_it_is_made(path: str) -> None:
    assert ensure_key_file(path) == ensure_key_file(path)


@pytest.mark.parametrize("others", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601])
def test_one_that_others_may_use_is_refused(path: str, others: int) -> None:
    made = make_key_file(path)
    os.chmod(path, others)
    with pytest.raises(KeyFileError) as caught:
        read_key_file(path)
    assert str(caught.value) == (
        f"key file {path}: others may use it (mode {others:04o}); `chmod 600 {path}` mends that"
    )
    os.chmod(path, 0o400)
    assert read_key_file(path) == made


def test_one_of_another_user_is_refused(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_key_file(path)
    ours = os.stat(path).st_uid
    monkeypatch.setattr(os, "geteuid", lambda: ours + 1)
    if ours == 0:
        assert read_key_file(path) == made  # what root has put there
        os.chown(path, 12345, -1)
        ours = 12345
    with pytest.raises(KeyFileError, match=rf"belongs to another user \(uid {ours}\)"):
        read_key_file(path)


def test_there_is_none(path: str) -> None:
    with pytest.raises(KeyFileError, match=r"there is none; `constellation keygen --key-file /"):
        read_key_file(path)


def test_it_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KeyFileError, match="Not a directory"):
        read_key_file(str(tmp_path / "file" / "a.key"))


@pytest.mark.parametrize("kind", ["directory", "fifo"])
def test_it_is_no_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.key"
    if kind == "directory":
        path.mkdir(0o700)
    else:
        os.mkfifo(path, 0o600)
    with pytest.raises(KeyFileError, match="it is no regular file"):
        read_key_file(str(path))


GOOD = Keypair.new()
LINES = f'public-key = "{GOOD.public.decode()}"\nsecret-key = "{GOOD.secret.decode()}"\n'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it holds no key; one has lines that begin with public-key and secret-key"),
        ("\x00" * 100, "it holds no key"),
        ("lots", "it holds no key"),
        (LINES.splitlines()[0], "it holds no key"),
        (LINES.splitlines()[1], "it holds no key"),
        (LINES[:-10], "it holds no key"),
        (LINES.replace('key = "', 'key = "x'), "it is damaged: a public key is 40 characters"),
        (LINES.replace(GOOD.public.decode(), "~" * 40), "it is damaged: the public key has char"),
        (
            LINES.replace(GOOD.public.decode(), Keypair.new().public.decode()),
            "it is damaged: the public key is not that of the secret key",
        ),
        (LINES + "#" * 5000, "it is too large for a key file"),
    ],
)
def test_what_holds_no_key(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "a.key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match=why) as caught:
        read_key_file(str(path))
    assert GOOD.secret.decode()[:8] not in str(caught.value)


def test_nothing_is_left_where_it_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", none)
    with pytest.raises(KeyFileError, match="it cannot be made: Operation not permitted"):
        make_key_file(str(tmp_path / "a.key"))
    monkeypatch.setattr(os, "fsync", none)
    with pytest.raises(KeyFileError, match="it cannot be made: Operation not permitted"):
        make_key_file(str(tmp_path / "a.key"), replace=True)
    assert not os.listdir(tmp_path)


def test_the_directory_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "a.key", tmp_path / "file" / "deeper" / "a.key"):
        with pytest.raises(KeyFileError, match=r"no directory|Not a directory"):
            make_key_file(str(path))


def test_a_link_to_nowhere_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(KeyFileExists):
        make_key_file(str(path))
    assert not (tmp_path / "nowhere").exists()


DEFAULT = "from constellation.security.key_file import default_path; print(default_path())"


def where(**environment: str) -> str:
    """What the default place is in this environment."""
    return subprocess.check_output(
        [sys.executable, "-c", DEFAULT],
        env={"PATH": os.environ["PATH"], **environment},
        text=True,
        timeout=60,
    ).strip()


def test_by_default_it_is_in_the_users_configuration(tmp_path: Path) -> None:
    place = where(HOME=str(tmp_path))
    assert place.startswith(f"{tmp_path}/")
    assert place.endswith("/constellation/cluster.key")
    if sys.platform == "linux":
        assert place == f"{tmp_path}/.config/constellation/cluster.key"
        other = where(HOME=str(tmp_path), XDG_CONFIG_HOME=f"{tmp_path}/other")
        assert other == f"{tmp_path}/other/constellation/cluster.key"


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(platformdirs, "user_config_dir", lambda *_, **__: "~/.config")
    with pytest.raises(KeyFileError, match="no home directory; --key-file names another place"):
        key_file.default_path()


@pytest.mark.parametrize(
    "error",
    [
        KeyFileError("/a.key", "why"),
        KeyFileExists("/a.key"),
        KeyFileExists("/a.key", "2a56ee0948434c6e"),
        NoClusterKey("/a.key"),
        NoClusterKey("/a.key", asking=True),
    ],
)
def test_the_errors_pickle(error: ClusterKeyError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.path == "/a.key"
