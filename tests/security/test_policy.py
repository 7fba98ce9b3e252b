from __future__ import annotations

import logging
from pathlib import Path

import pytest

from constellation.security.errors import KeyFileError, NoClusterKey
from constellation.security.key_file import make_key_file, read_key_file
from constellation.security.policy import INSECURE, cluster_key


@pytest.mark.parametrize("loopback_only", [True, False])
def test_the_file_that_was_named(tmp_path: Path, place: Path, loopback_only: bool) -> None:
    make_key_file(str(place))
    named = make_key_file(str(tmp_path / "named.key"))
    assert cluster_key(str(tmp_path / "named.key"), loopback_only=loopback_only) == named


@pytest.mark.parametrize("loopback_only", [True, False])
def test_it_must_be_there(tmp_path: Path, place: Path, loopback_only: bool) -> None:
    make_key_file(str(place))
    with pytest.raises(KeyFileError, match=r"named\.key: there is none"):
        cluster_key(str(tmp_path / "named.key"), loopback_only=loopback_only)
    assert not (tmp_path / "named.key").exists()


@pytest.mark.parametrize("loopback_only", [True, False])
def test_the_file_at_the_default_place(place: Path, loopback_only: bool) -> None:
    made = make_key_file(str(place))
    assert cluster_key(None, loopback_only=loopback_only) == made


@pytest.mark.parametrize("loopback_only", [True, False])
def test_a_bad_one_there_is_never_passed_over(place: Path, loopback_only: bool) -> None:
    make_key_file(str(place))
    place.chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        cluster_key(None, loopback_only=loopback_only)


def test_on_loopback_it_is_made_on_first_use(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = cluster_key(None, loopback_only=True)
    assert made is not None
    assert read_key_file(str(place)) == made
    told = f"{place} holds the new key, with the fingerprint {made.fingerprint}"
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (logging.WARNING, told)
    ]
    caplog.clear()
    assert cluster_key(None, loopback_only=True) == made
    assert cluster_key(None, loopback_only=False) == made
    assert cluster_key(None, loopback_only=True, asking=True) == made
    assert caplog.records == []


def test_who_only_asks_makes_none(place: Path) -> None:
    for loopback_only in (True, False):
        with pytest.raises(NoClusterKey, match="--key-file"):
            cluster_key(None, loopback_only=loopback_only, asking=True)
    assert not place.exists()


def test_beyond_loopback_there_is_no_going_on_without_one(place: Path) -> None:
    with pytest.raises(NoClusterKey) as caught:
        cluster_key(None, loopback_only=False)
    for named in ("constellation keygen", "--key-file", str(place), "every machine"):
        assert named in str(caught.value)
    assert not place.exists()


@pytest.mark.parametrize("loopback_only", [True, False])
@pytest.mark.parametrize("there", [True, False])
def test_without_a_key_there_is_a_warning(
    place: Path, loopback_only: bool, there: bool, caplog: pytest.LogCaptureFixture
) -> None:
    if there:
        make_key_file(str(place))
    assert cluster_key(None, loopback_only=loopback_only, insecure=True) is None
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (logging.WARNING, INSECURE)
    ]
    assert place.exists() == there


def test_a_key_and_none_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--key-file and --insecure"):
        cluster_key(str(tmp_path / "named.key"), loopback_only=True, insecure=True)


def test_nothing_of_the_key_is_logged(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    made = cluster_key(None, loopback_only=True)
    assert made is not None
    assert made.public.decode() not in caplog.text
    assert made.secret.decode() not in caplog.text
