from __future__ import annotations

import typing

import msgspec
import pytest

from constellation.awaited import (
    AwaitsAll,
    AwaitsAny,
    AwaitsRoom,
    AwaitsValues,
    AwaitsWindow,
)
from constellation.control import messages
from constellation.exit_status import ExitStatus
from constellation.units import Mem

SITE = messages.Site("/tmp/cst-a", "/srv/program", b"p" * 40, b"s" * 40)
EXAMPLES = [
    messages.Spawn(7, 20 << 20, 0.01, True),
    messages.Accept(7),
    messages.Cancel(7),
    messages.Ready(),
    messages.Watch(b"k" * 16),
    messages.Unwatch(b"k" * 16),
    messages.Unreached(b"k" * 16, "tcp://10.0.0.3:40007", "there is no answer"),
    messages.Unable("why"),
    messages.TurnedAway((messages.Stranger("10.0.0.9", "it sent HTTP", 3),)),
    messages.Examined(9, (AwaitsRoom(1), AwaitsValues(b"k" * 16)), 2),
    messages.Examined(
        9, (AwaitsAll((AwaitsAny((AwaitsRoom(1), AwaitsWindow(b"k" * 16))), AwaitsRoom(2))),), 0
    ),
    messages.Adopt(b"k" * 16, "ipc:///a", 1, 0.5),
    messages.Adopt(None, "", 1, 0.5),
    messages.Placed(7, b"k" * 16, "ipc:///tmp/cst-x/k"),
    messages.Spawned(7),
    messages.Refused(7, "NoCapacity", "no"),
    messages.Go(),
    messages.Examine(9),
    messages.Exited(b"k" * 16, messages.Status(signal="SIGABRT", core_dumped=True, max_rss=1)),
    messages.Exited(b"k" * 16),
    messages.Started(4711),
    messages.Failed("SpawnError", "no"),
    messages.Output(1, bytes(range(256))),
    messages.Eof(2),
    messages.Died(9, 1 << 20),
    messages.Died(9, 1 << 20, "memory limit"),
    messages.End("memory limit"),
    messages.Held(),
    messages.Idle(),
    messages.Room(65536),
    messages.Shut(1),
    messages.Signal(2),
    messages.End(),
    messages.Forked(3, 4711),
    messages.ForkFailed(3, "no"),
    messages.MonitorEnded(3, 9),
    messages.Trouble("text"),
    messages.Fork(3, b"k" * 16, "ipc:///a", False, True),
    messages.Birth(b"n" * 8, b"k" * 16, "ipc:///a", False, True, 3, 4, 5, 6, None),
    messages.Birth(b"n" * 8, b"k" * 16, "tcp://a:1", True, False, 3, 4, 5, 6, 7, 8, SITE),
    messages.Deploy(b"n" * 8, 3, 4, 77, SITE),
    messages.Survey(b"n" * 8),
    messages.Born(),
    messages.Born(fresh=True),
    messages.Needs(1 << 20, 0.5),
]

UNIONS = [
    messages.FromProcess,
    messages.ToProcess,
    messages.FromMonitor,
    messages.ToMonitor,
    messages.FromZygote,
    messages.ToZygote,
    messages.ToNewborn,
    messages.FromNewborn,
]


def members(union: object) -> tuple[type, ...]:
    return typing.get_args(union) or (typing.cast("type", union),)


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda m: type(m).__name__)
def test_survives_the_wire_in_its_union(message: messages.Message) -> None:
    homes = [union for union in UNIONS if type(message) in members(union)]
    assert homes
    for union in homes:
        decoder = msgspec.msgpack.Decoder(union)
        assert decoder.decode(msgspec.msgpack.encode(message)) == message


def test_every_message_has_an_example() -> None:
    every = {kind for union in UNIONS for kind in members(union)}
    assert every == {type(message) for message in EXAMPLES}


def test_a_message_of_another_union_is_refused() -> None:
    decoder = msgspec.msgpack.Decoder(messages.FromProcess)
    with pytest.raises(msgspec.ValidationError):
        decoder.decode(msgspec.msgpack.encode(messages.Go()))


@pytest.mark.parametrize(
    "status",
    [
        ExitStatus(code=0),
        ExitStatus(code=3, max_rss=Mem("20 MiB")),
        ExitStatus(signal="SIGSEGV", core_dumped=True),
        ExitStatus(lost="monitor killed", cause="a reason"),
    ],
    ids=str,
)
def test_status_is_an_exit_status(status: ExitStatus) -> None:
    assert messages.Status.of(status).exit_status() == status
