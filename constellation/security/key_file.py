"""The file that a cluster's key is kept in.

It is written as CZMQ and pyzmq write certificates (ZPL), so other tools of ZeroMQ can read it. It
appears under its name complete and with its mode, by link(2), which never replaces what is there:
of several that make it at the same time one succeeds, and the others find its key.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from typing import Final

from constellation.security.errors import KeyFileError, KeyFileExists, KeyFileNotMade
from constellation.security.keypair import Keypair
from constellation.user_places import config_directory

__all__ = ["default_path", "ensure_key_file", "make_key_file", "read_key_file"]

_NAME: Final = "cluster.key"
_MOST: Final = 4096
"""Bytes that are read of a key file; more is none."""

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO

_HEADING: Final = (
    "# The key of a Constellation cluster. Whoever can read this file can run programs there.\n"
)
_LINE: Final = re.compile(rb'\s*(public-key|secret-key)\s*=\s*"([^"]*)"\s*')


def default_path() -> str:
    """Where the key is kept unless something else was said: in the user's configuration.

    Raises:
        KeyFileError: The user has no home directory.
    """
    directory = config_directory()
    if directory is None:
        raise KeyFileError(_NAME, "this user has no home directory; --key-file names another place")
    return os.path.join(directory, _NAME)


def read_key_file(path: str) -> Keypair:
    """The key in a file.

    Raises:
        KeyFileError: It cannot be read, others than its owner may use it, or it holds no key.
    """
    try:
        # Not held up by a FIFO, which is refused below.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        reason = f"there is none; `constellation keygen --key-file {path}` makes one"
        raise KeyFileError(path, reason) from None
    except OSError as error:
        raise KeyFileError(path, _told(error)) from None
    try:
        _check_owner(path, os.fstat(descriptor))
        data = os.read(descriptor, _MOST + 1)
    except OSError as error:
        raise KeyFileError(path, _told(error)) from None
    finally:
        os.close(descriptor)
    return _keypair(path, data)


def make_key_file(path: str, *, replace: bool = False) -> Keypair:
    """Make a new key, and the file for it, of mode 0600. Directories on the way are made too.

    Args:
        path: The file.
        replace: Put it in the place of a file that is there.

    Raises:
        KeyFileExists: There is one, which stays as it is.
        KeyFileNotMade: It cannot be made there.
    """
    if not replace and os.path.lexists(path):
        raise KeyFileExists(path)
    keypair = Keypair.new()
    directory = os.path.dirname(path) or "."
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        temporary = _write(directory, keypair)
        try:
            if replace:
                os.replace(temporary, path)
            else:
                os.link(temporary, path)
        finally:
            with contextlib.suppress(FileNotFoundError):  # it has been renamed
                os.unlink(temporary)
    except FileExistsError:
        # Also where the directory is a file.
        if not os.path.isdir(directory):
            raise KeyFileNotMade(path, f"{directory} is no directory") from None
        raise KeyFileExists(path) from None
    except OSError as error:
        raise KeyFileNotMade(path, f"it cannot be made: {_told(error)}") from None
    return read_key_file(path)


def ensure_key_file(path: str) -> Keypair:
    """The key in a file, which is made if it is not there.

    Raises:
        KeyFileError: It cannot be used, or cannot be made.
    """
    # What others may have made in between is as good as what would be made here.
    with contextlib.suppress(KeyFileExists):
        return make_key_file(path)
    return read_key_file(path)


def _check_owner(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise KeyFileError(path, "it is no regular file")
    us = os.geteuid()
    # Root's files are nobody else's, and to root all files are alike.
    if status.st_uid not in {us, 0} and us != 0:
        raise KeyFileError(path, f"it belongs to another user (uid {status.st_uid})")
    if status.st_mode & _OTHERS:
        mode = stat.S_IMODE(status.st_mode)
        raise KeyFileError(
            path, f"others may use it (mode {mode:04o}); `chmod 600 {path}` mends that"
        )


def _keypair(path: str, data: bytes) -> Keypair:
    if len(data) > _MOST:
        raise KeyFileError(path, "it is too large for a key file")
    found = {}
    for line in data.splitlines():
        match = _LINE.fullmatch(line)
        if match is not None:
            found[match[1]] = match[2]
    if len(found) < 2:
        raise KeyFileError(
            path, "it holds no key; one has lines that begin with public-key and secret-key"
        )
    try:
        return Keypair(found[b"public-key"], found[b"secret-key"])
    except ValueError as error:
        raise KeyFileError(path, f"it is damaged: {error}") from None


def _write(directory: str, keypair: Keypair) -> str:
    """A new file in the directory that holds the key. Gives its path."""
    path = os.path.join(directory, f".{_NAME}.{secrets.token_hex(8)}")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            os.fchmod(descriptor, 0o600)  # whatever the umask has taken away
            with open(descriptor, "wb", closefd=False) as file:
                file.write(_HEADING.encode())
                file.write(b"curve\n")
                file.write(b'    public-key = "%b"\n' % keypair.public)
                file.write(b'    secret-key = "%b"\n' % keypair.secret)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:  # an interrupt too: half a key is to be nobody's
        os.unlink(path)
        raise
    return path


def _told(error: OSError) -> str:
    return error.strerror or str(error)
