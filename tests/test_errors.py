from __future__ import annotations

import inspect
import pickle

import pytest

from constellation import (
    ChannelClosed,
    ChannelError,
    ChannelTypeError,
    ConstellationError,
    ExitStatus,
    InitError,
    NoCapacity,
    Pid,
    ProcessExited,
    ProgramError,
    SerializationError,
    SettingsError,
    SpawnDeadlock,
    SpawnError,
    WouldBlock,
    errors,
)

PID = Pid(bytes.fromhex("3fecd01b7a5f4c0e9d2846b15c7e80aa"), "tcp://10.0.0.2:40001")

TREE = {
    ConstellationError: Exception,
    InitError: ConstellationError,
    SettingsError: ConstellationError,
    SpawnError: ConstellationError,
    NoCapacity: SpawnError,
    SpawnDeadlock: SpawnError,
    ProgramError: SpawnError,
    ChannelError: ConstellationError,
    ProcessExited: ChannelError,
    ChannelClosed: ChannelError,
    ChannelTypeError: ChannelError,
    SerializationError: ChannelError,
    WouldBlock: ConstellationError,
}

TEXTS: list[tuple[ConstellationError, str]] = [
    (ConstellationError("why"), "why"),
    (InitError("why"), "why"),
    (
        SettingsError("CONSTELLATION_FORMAT", "xml", "'human' or 'json'"),
        "the environment variable CONSTELLATION_FORMAT is 'xml', but must be 'human' or 'json'",
    ),
    (SpawnError("why"), "why"),
    (NoCapacity("why"), "why"),
    (SpawnDeadlock("why"), "why"),
    (ProgramError("why"), "why"),
    (ChannelError("why"), "why"),
    (ProcessExited(PID), "process 3fecd01 has exited; how is not known"),
    (ProcessExited(PID, ExitStatus(code=3)), "process 3fecd01 has exited: 3"),
    (
        ProcessExited(PID, ExitStatus(lost="node 10.0.0.2:9999")),
        "process 3fecd01 has exited: lost: node 10.0.0.2:9999",
    ),
    (ChannelClosed(PID), "the channel from process 3fecd01 was closed by its Sender"),
    (ChannelClosed(PID, "log"), "the channel 'log' from process 3fecd01 was closed by its Sender"),
    (
        ChannelTypeError("int", "str | None"),
        "the Receiver is for values of type int, but the Sender is for values of type str | None",
    ),
    (
        SerializationError("args[0].lock", "cannot pickle '_thread.lock' object"),
        "args[0].lock: cannot pickle '_thread.lock' object",
    ),
    (SerializationError("", "no such class"), "no such class"),
    (WouldBlock(), "the operation would have to wait"),
    (WouldBlock("the window is full"), "the window is full"),
]


def test_the_tree() -> None:
    public = {
        value
        for value in vars(errors).values()
        if inspect.isclass(value) and value.__module__ == errors.__name__
    }
    assert public == set(TREE)
    for error, base in TREE.items():
        assert error.__base__ is base


def test_the_tree_as_drawn() -> None:
    lines = [
        line for line in (errors.__doc__ or "").splitlines() if line.lstrip("|` -")[:1].isupper()
    ]
    drawn: dict[str, str | None] = {}
    above: list[tuple[int, str]] = []
    for line in lines:
        name = line.lstrip("|` -").split()[0]
        if name not in errors.__dict__:
            continue
        indent = line.index(name)
        above = [(column, parent) for column, parent in above if column < indent]
        drawn[name] = above[-1][1] if above else None
        above.append((indent, name))
    assert drawn == {
        error.__name__: None if base is Exception else base.__name__ for error, base in TREE.items()
    }


@pytest.mark.parametrize(("error", "text"), TEXTS, ids=lambda value: type(value).__name__)
def test_text(error: ConstellationError, text: str) -> None:
    assert str(error) == text
    assert {type(error) for error, _ in TEXTS} == set(TREE)


@pytest.mark.parametrize("error", [error for error, _ in TEXTS], ids=lambda e: type(e).__name__)
def test_every_error_pickles_with_what_was_noted_on_it(error: ConstellationError) -> None:
    assert error.index is None
    assert error.sent is None
    error.index, error.sent = 2, 17
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(error, protocol))
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)
        assert again.args == error.args
    del error.index, error.sent
