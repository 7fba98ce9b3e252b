"""The command that the program was started with, and how it is run again.

Where processes start fresh, each is the same command once more: the interpreter with its options,
the script or module, the arguments, the environment and the directory, all as this program found
them. So `__main__` is the same module there, whichever way it was started, and what the program
does before `init()` finds what it found the first time.

They are read when this module is imported, before the program has had much time to change them.
"""

from __future__ import annotations

import os
import signal
import sys

import msgspec

from constellation.errors import InitError

OPTION = "constellation"
"""The `-X` option that tells an interpreter which process it is; see `constellation.process.birth`.

In place of a variable in the environment: it is nobody's business but that interpreter's, and what
it starts does not inherit it."""

_HASH_SEED = "PYTHONHASHSEED"
_OF_PYTHON = frozenset({signal.SIGPIPE, getattr(signal, "SIGXFSZ", signal.SIGPIPE)})
"""What the interpreter ignores itself, and gives back to what it starts."""


class Command(msgspec.Struct, frozen=True, array_like=True):
    """A command, in the encoding of the file system.

    Attributes:
        executable: The interpreter.
        arguments: What follows it.
        environ: The environment.
        directory: The working directory; None if it had been removed.
        ignored: The signals that are ignored.
        blocked: The signals that are blocked.
        seeded: Whether the seed of hashes in the environment is one that was put there.
    """

    executable: bytes
    arguments: list[bytes]
    environ: dict[bytes, bytes]
    directory: bytes | None
    ignored: list[int]
    blocked: list[int]
    seeded: bool = False


def _read() -> Command:
    arguments = sys.orig_argv[1:]
    if arguments[:1] == ["-X"] and arguments[1:2] and arguments[1].startswith(f"{OPTION}="):
        del arguments[:2]  # this one's own
    ignored = [
        int(number)
        for number in signal.valid_signals() - _OF_PYTHON
        if signal.getsignal(number) is signal.SIG_IGN
    ]
    return Command(
        executable=os.fsencode(sys.executable or ""),
        arguments=list(map(os.fsencode, arguments)),
        environ=dict(os.environb),
        directory=_directory(arguments),
        ignored=ignored,
        blocked=list(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ()))),
    )


def _directory(arguments: list[str]) -> bytes | None:
    """Where the command was started, also where the program has gone elsewhere since.

    The path of a script was made absolute at the start, so what stands before the script's name as
    it was given is the directory of that moment.
    """
    main = sys.modules.get("__main__")
    file, spec = getattr(main, "__file__", None), getattr(main, "__spec__", None)
    if isinstance(file, str) and (spec is None or spec.name == "__main__"):
        for script in arguments:
            for path in (script, os.path.join(script, "__main__.py")):
                if os.path.isabs(script) or not file.endswith(os.sep + path):
                    continue
                start = file.removesuffix(path)  # with its last separator
                if os.path.isdir(start):
                    return os.fsencode(start)
    try:
        return os.getcwdb()
    except FileNotFoundError:
        return None


_AT_START = _read()


def again() -> Command:
    """The command that runs this program again.

    All its processes have one seed of hashes, as forks have: so a program may spread what it has
    over them by `hash()`.

    Raises:
        InitError: There is none.
    """
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    if getattr(sys, "frozen", False) or not sys.executable:
        raise InitError(
            "processes cannot start fresh: this program has no Python interpreter that "
            "could run it again; with CONSTELLATION_START=fork they are forks of it"
        )
    if (main is None and b"-c" not in _AT_START.arguments) or main == "<stdin>":
        raise InitError(
            "processes cannot start fresh: each runs the program again, and this one was typed or "
            "read from standard input; with CONSTELLATION_START=fork they are forks of it"
        )
    chosen = os.fsencode(_HASH_SEED) in _AT_START.environ or sys.flags.ignore_environment
    if chosen or not sys.flags.hash_randomization:
        return _AT_START
    seed = 1 + int.from_bytes(os.urandom(4), "big") % 0xFFFFFFFF
    environ = {**_AT_START.environ, os.fsencode(_HASH_SEED): str(seed).encode()}
    return msgspec.structs.replace(_AT_START, environ=environ, seeded=True)


def forget_seed() -> None:
    """Take the seed of hashes out of the environment: it was not the user who put it there."""
    os.environ.pop(_HASH_SEED, None)
