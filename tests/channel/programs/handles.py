"""Making handles: what is refused and with what words, names, types, properties."""

# ruff: noqa: UP006, UP007, UP045 - each way to write a type is the subject

import asyncio
import functools
import gc
import os
import pickle
import sys
import tempfile
import threading
import typing
from typing import Any, Optional, Union

from checking import check, gone, main, raises, wait, waiting

from constellation import (
    ChannelError,
    ChannelTypeError,
    InitError,
    ProcessExited,
    Receiver,
    Sender,
    SerializationError,
    SpawnError,
    WouldBlock,
    pid,
    select,
    spawn,
)


class Thing:
    class Inner:
        pass


for made in (Sender, Receiver[int]):
    with raises(InitError, "call constellation.init() first, early in main()"):
        made(None)


@check
def a_second_handle_is_refused_in_these_words():
    with waiting() as child:
        kept = Sender(child), Receiver(child)
        for kind, way in ((Sender, "to"), (Receiver, "to")):
            name = kind.__name__
            text = f"{name}() called for pid {child} when a {name} {way} this pid already exists"
            with raises(ChannelError, text):
                kind(child)
            with raises(ChannelError, text):
                kind[int](child)
        with raises(ChannelError) as caught:
            Sender(child)
        if sys.version_info >= (3, 11):
            advice = ["Use that one, or give another channel a name=, the same at both ends."]
            assert caught.error.__notes__ == advice
        del kept


@check
def so_is_one_of_the_same_name():
    with waiting() as child:
        kept = Sender(child, name="a"), Sender(child), Sender(child, name="b")
        with raises(ChannelError) as caught:
            Sender(child, name="a")
        assert "'a'" in str(caught.error)
        del kept


@check
def a_refused_handle_leaves_the_first_as_it_was():
    def echo(parent):
        Sender(parent).send(Receiver(parent).recv().block()).block()

    child = spawn(echo).block()
    sender, receiver = Sender(child), Receiver(child)
    for kind in (Sender, Receiver):
        with raises(ChannelError):
            kind(child)
    sender.send(5).block()
    assert receiver.recv().block() == 5


@check
def a_channel_to_oneself_is_refused_in_these_words():
    for kind in (Sender, Receiver):
        with raises(
            ChannelError,
            f"{kind.__name__}() called with process's own pid. "
            "A process cannot create a channel to itself.",
        ):
            kind(pid())


@check
def what_makes_no_sense_is_refused():
    with waiting() as child:
        with raises(TypeError):
            Sender("3fecd01")
        with raises(TypeError):
            Receiver(None)
        with raises(TypeError):
            Sender(child, name=5)
        with raises(TypeError):
            Sender(child, "name")
        with raises(ValueError):
            Sender(child, codec="yaml")
        with raises(TypeError):
            Receiver(child, codec="json")
        Sender(child).send(1).block()  # none of them is in the way


@check
def properties():
    with waiting() as child:
        for kind in (Sender, Receiver):
            plain, named = kind[int](child), kind(child, name="wide")
            assert plain.remote_pid == named.remote_pid == child
            assert (plain.name, named.name) == ("", "wide")
            assert str(child) in repr(plain)
            assert "wide" in repr(named)
            assert "closed" not in repr(plain)
            plain.close()
            assert "closed" in repr(plain)
            assert plain.remote_pid == child


@check
def a_handle_that_an_error_came_from_is_closed_when_it_is_dropped():
    # Without the garbage collector: nothing of the library keeps the error or its frames.
    class Unpicklable:
        def __reduce__(self):
            raise ValueError("not me")

    class Undecodable:
        def __reduce__(self):
            return refuse, ()

    def refuse():
        raise ValueError("not here")

    def send(parent):
        Sender(parent).send(Undecodable()).block()
        Sender(parent, name="batch").send_many([Undecodable(), 1]).block()

    def leave(parent):
        pass

    def used_up(make, use, kind):
        with raises(kind):
            use(make())
        make().close()

    def make_again(handle):
        type(handle)(handle.remote_pid, name=handle.name)

    async def awaits(operation):
        with raises(SerializationError):
            await operation
        operation = None

    lock = threading.Lock()
    gc.disable()
    try:
        with waiting(send) as child:
            for codec in ("pickle", "json", "msgpack"):
                make = functools.partial(Sender, child, codec=codec)
                for value in (lock, [{"a": lock}], (1, 2, Unpicklable())):
                    used_up(make, lambda s, v=value: s.send(v).block(), SerializationError)
                    used_up(make, lambda s, v=value: s.try_send(v), SerializationError)
                    used_up(make, lambda s, v=value: s.send_many([v]).block(), SerializationError)
                    used_up(make, lambda s, v=value: select(s.send(v)).block(), SerializationError)
            make = functools.partial(Sender, child)
            used_up(make, make_again, ChannelError)
            used_up(make, lambda sender: spawn(leave, sender).block(), SerializationError)
            for name in ("", "batch"):
                make = functools.partial(Receiver, child, name=name)
                used_up(make, lambda r: r.recv().block(), SerializationError)
            asyncio.run(awaits(Sender(child).send(lock)))
            Sender(child).close()

            home = os.getcwd()
            there = tempfile.mkdtemp()
            os.chdir(there)
            os.rmdir(there)
            used_up(lambda: Sender(child), lambda kept: spawn(leave).block(), SpawnError)
            os.chdir(home)
    finally:
        gc.enable()


@check
def handles_do_not_travel():
    with waiting() as child:
        sender, receiver = Sender(child), Receiver(child)
        for handle in (sender, receiver):
            with raises(TypeError):
                pickle.dumps(handle)
            with raises(SerializationError):
                sender.send([handle]).block()
            with raises(SerializationError):
                spawn(wait, handle).block()


@check
def names_are_channels_of_their_own():
    names = ["", "a", "b", "späße ☃", " ", "x" * 200]

    def child(parent):
        receivers = [Receiver(parent, name=name) for name in names]
        for receiver in receivers:
            with Sender(parent, name=receiver.name) as sender:
                sender.send((receiver.name, receiver.recv().block())).block()

    remote = spawn(child).block()
    senders = [Sender(remote, name=name) for name in names]
    for sender in reversed(senders):
        sender.send(sender.name).block()
    for name in reversed(names):
        assert Receiver(remote, name=name).recv().block() == (name, name)


@check
def making_handles_waits_for_nobody():
    def child(parent):
        pass

    remote = spawn(child).block()
    gone(remote)
    sender, receiver = Sender(remote), Receiver(remote)
    sender.close()
    receiver.close()
    kept = Sender(remote), Receiver(remote)
    del kept


def sends(kind, value):
    def start(parent):
        sender = Sender[kind](parent) if kind is not None else Sender(parent)
        sender.send(value).block()
        return sender

    return start


SAME = [
    (Optional[str], str | None),
    (str | None, Union[None, str]),
    (typing.List[int], list[int]),
    (typing.Dict[str, typing.List[int]], dict[str, list[int]]),
    (int | str, str | int),
    (Thing, Thing),
    (Thing.Inner, Thing.Inner),
    (tuple[int, ...], tuple[int, ...]),
    (None, int),
    (int, None),
    (int, Any),
    (Any, int),
    (list[Any], list[int]),
]


@check
def ends_of_the_same_type_or_of_none():
    for sent, expected in SAME:
        with waiting(sends(sent, 7)) as child:
            receiver = Receiver[expected](child) if expected is not None else Receiver(child)
            assert receiver.recv().block() == 7, (sent, expected)


OTHER = [
    (int, str, "int", "str"),
    (int, bool, "int", "bool"),
    (Optional[str], str, "str | None", "str"),
    (list[int], list[str], "list[int]", "list[str]"),
    (Thing, Thing.Inner, "__main__.Thing", "__main__.Thing.Inner"),
    (type(None), int, "None", "int"),
]


@check
def ends_of_different_types():
    for sent, expected, actual_name, expected_name in OTHER:
        with waiting(sends(sent, 7)) as child:
            receiver = Receiver[expected](child)
            block = receiver.recv().block
            for attempt in (block, receiver.try_recv, receiver.recv().block):
                with raises(ChannelTypeError) as caught:
                    while True:
                        try:
                            attempt()
                        except WouldBlock:
                            continue
                error = caught.error
                assert (error.expected, error.actual) == (expected_name, actual_name), error
                assert expected_name in str(error)
                assert actual_name in str(error)
            receiver.close()
            # The value stays for a Receiver of the right type.
            assert Receiver[sent](child).recv().block() == 7


@check
def the_values_of_a_batch_stay_too():
    def many(parent):
        sender = Sender[int](parent)
        sender.send_many(range(10)).block()
        return sender

    with waiting(many) as child:
        right = Receiver[int](child)
        assert [right.recv().block() for _ in range(3)] == [0, 1, 2]
        right.close()
        wrong = Receiver[str](child)
        with raises(ChannelTypeError):
            wrong.recv().block()
        wrong.close()
        right = Receiver(child)
        assert [right.recv().block() for _ in range(7)] == [3, 4, 5, 6, 7, 8, 9]


@check
def the_type_is_that_of_the_sender_of_the_value():
    def several(parent):
        Sender[int](parent).send(1).block()
        Sender[str](parent).send("two").block()
        Sender(parent).send(3.0).block()

    child = spawn(several).block()
    assert Receiver[int](child).recv().block() == 1
    receiver = Receiver[int](child)
    with raises(ChannelTypeError):
        receiver.recv().block()
    receiver.close()
    assert Receiver[str](child).recv().block() == "two"
    assert Receiver[bytes](child).recv().block() == 3.0
    with raises(ProcessExited):
        Receiver(child).recv().block()


if __name__ == "__main__":
    main()
