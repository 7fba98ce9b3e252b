"""`send`, `send_many`, `try_send`, `flush`, and what a Sender does when it is closed."""

import asyncio
import gc
import os
import signal
import threading

from checking import check, die, gone, main, raises, wait, waiting

from constellation import (
    ChannelError,
    ProcessExited,
    Receiver,
    Sender,
    SerializationError,
    WouldBlock,
    select,
    spawn,
)

BLOCK = bytes(500_000)
LOCK = threading.Lock()


def collect(parent):
    """Answers with all that came, once it is told to read."""
    Receiver(parent, name="read").recv().block()
    Sender(parent).send(list(Receiver(parent))).block()


class Collecting:
    """A sender, to a process that reads only when it is closed; then `values` are those."""

    def __enter__(self):
        self.pid = spawn(collect).block()
        self.sender = Sender(self.pid)
        return self

    def __exit__(self, kind, error, trace):
        self.sender.close()
        self.read()
        self.values = Receiver(self.pid).recv().block()

    def read(self):
        try:
            Sender(self.pid, name="read").send(True).block()
        except ProcessExited:
            pass  # it was told before

    def fill(self):
        sent = 0
        try:
            while True:
                self.sender.try_send((sent, BLOCK))
                sent += 1
        except WouldBlock:
            return sent


@check
def values_arrive_once_and_in_order():
    values = [*range(1000), "text", b"bytes", None, [1, [2]], {"a": (1, 2)}, 1.5, "", b"", 2**100]
    with Collecting() as to:
        for value in values:
            assert to.sender.send(value).block() is None
    assert to.values == values


@check
def a_value_is_taken_when_the_send_starts():
    with Collecting() as to:
        value = [1]
        operation = to.sender.send(value)
        value.append(2)
        operation.block()
        value.append(3)
        sent_in_batch = [value]
        to.sender.send_many(sent_in_batch).block()
        value.append(4)
        big = bytearray(200_000)
        to.sender.send(big).block()
        big[0] = 1
        to.sender.try_send(value)
        value.clear()
    assert to.values == [[1, 2], [1, 2, 3], bytearray(200_000), [1, 2, 3, 4]]


@check
def a_full_window_makes_send_wait_and_try_send_say_so():
    with Collecting() as to:
        sent = to.fill()
        assert 2 <= sent <= 12, sent
        with raises(WouldBlock):
            to.sender.try_send((sent, BLOCK))
        # What timed out was not sent; nor does anything overtake.
        for _ in range(2):
            with raises(TimeoutError):
                to.sender.send((-1, BLOCK)).block(timeout=0.05)
        with raises(TimeoutError):
            to.sender.send((-1, BLOCK)).block(timeout=0)
        waits = threading.Thread(target=lambda: to.sender.send((sent, b"")).block())
        to.read()
        waits.start()
        waits.join()
        to.sender.send((sent + 1, b"")).block()
    assert [number for number, _ in to.values] == [*range(sent + 2)]


@check
def a_small_value_waits_behind_a_large_one():
    with Collecting() as to:
        sent = to.fill()
        order = []

        def send(number, size):
            to.sender.send((number, bytes(size))).block()
            order.append(number)

        threads = []
        for number, size in ((sent, 1_000_000), (sent + 1, 10)):
            threads.append(threading.Thread(target=send, args=(number, size)))
            threads[-1].start()
            threads[-1].join(0.05)
        assert order == []
        with raises(WouldBlock):
            to.sender.try_send((-1, b""))
        to.read()
        for thread in threads:
            thread.join()
    assert [number for number, _ in to.values] == [*range(sent + 2)]


@check
def a_send_that_gives_up_lets_the_next_go():
    with Collecting() as to:
        sent = to.fill()
        # There is room for a small one behind it.
        room = to.sender.send((-1, bytes(4_500_000)))
        first = threading.Thread(target=quietly, args=(room, 0.1))
        first.start()
        first.join(0.05)
        second = threading.Thread(target=to.sender.send((sent, b"")).block)
        second.start()
        first.join()
        second.join()
        assert room is not None
    assert [number for number, _ in to.values] == [*range(sent + 1)]


def quietly(operation, timeout):
    try:
        operation.block(timeout=timeout)
    except TimeoutError:
        pass


@check
def a_value_above_the_window_passes_by_itself():
    with Collecting() as to:
        to.sender.send((0, b"")).block()
        first = threading.Thread(target=to.sender.send((1, bytes(9_000_000))).block)
        first.start()
        to.read()
        first.join()
        to.sender.send((2, bytes(9_000_000))).block()
    assert [(number, len(data)) for number, data in to.values] == [
        (0, 0),
        (1, 9_000_000),
        (2, 9_000_000),
    ]


@check
def a_cancelled_send_has_sent_nothing():
    with Collecting() as to:
        sent = to.fill()

        async def give_up():
            for _ in range(5):
                tasks = [asyncio.ensure_future(send(to.sender, (-1, BLOCK))) for _ in range(3)]
                await asyncio.sleep(0.005)
                for task in tasks:
                    task.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
                assert all(isinstance(each, asyncio.CancelledError) for each in results), results

        asyncio.run(give_up())
        to.read()
        to.sender.send((sent, b"")).block()
    assert [number for number, _ in to.values] == [*range(sent + 1)]


async def send(sender, value):
    await sender.send(value)


@check
def what_cannot_be_pickled_is_an_error_of_the_caller_and_the_channel_goes_on():
    def closure():
        return guard

    guard = threading.Lock()
    with Collecting() as to:
        to.sender.send(1).block()
        for value, path in (
            (threading.Lock(), ""),
            ([{"key": threading.Lock()}], "[0]['key']"),
            (closure, "guard"),
        ):
            for attempt in (to.sender.send(value).block, lambda v=value: to.sender.try_send(v)):
                with raises(SerializationError) as caught:
                    attempt()
                assert path in str(caught.error), caught.error
                assert "cannot pickle '_thread.lock' object" in str(caught.error)
        to.sender.send(2).block()
    assert to.values == [1, 2]


@check
def the_same_while_the_window_is_full():
    with Collecting() as to:
        sent = to.fill()
        with raises(SerializationError):
            to.sender.send((BLOCK, threading.Lock())).block(timeout=10)
        to.read()
        to.sender.send((sent, b"")).block()
    assert [number for number, _ in to.values] == [*range(sent + 1)]


@check
def send_many_sends_any_iterable():
    with Collecting() as to:
        to.sender.send_many([1, 2]).block()
        to.sender.send_many(number for number in range(3, 6)).block()
        to.sender.send_many([]).block()
        to.sender.send_many({6: None, 7: None}).block()
        to.sender.send_many("ab").block()
        with raises(TypeError):
            to.sender.send_many(5).block()
        to.sender.send(8).block()
    assert to.values == [1, 2, 3, 4, 5, 6, 7, "a", "b", 8]


@check
def send_many_says_how_many_went():
    with Collecting() as to:
        with raises(SerializationError) as caught:
            to.sender.send_many([0, 1, threading.Lock(), 3]).block()
        assert caught.error.sent == 2
        with raises(SerializationError) as caught:
            to.sender.send_many([threading.Lock()]).block()
        assert caught.error.sent == 0

        def broken():
            yield 2
            yield 3
            raise KeyError("broken")

        with raises(KeyError) as caught:
            to.sender.send_many(broken()).block()
        assert caught.error.sent == 2
    assert to.values == [0, 1, 2, 3]


@check
def send_many_that_timed_out_says_how_many_went():
    with Collecting() as to:
        with raises(TimeoutError) as caught:
            to.sender.send_many((number, BLOCK) for number in range(100)).block(timeout=0.05)
        sent = caught.error.sent
        assert 2 <= sent <= 12, sent
        to.read()
        to.sender.send((sent, b"")).block()
    assert [number for number, _ in to.values] == [*range(sent + 1)]


@check
def send_many_that_was_cancelled_says_how_many_went():
    with Collecting() as to:
        sent = []

        async def give_up():
            try:
                await to.sender.send_many((number, BLOCK) for number in range(100))
            except asyncio.CancelledError as error:
                sent.append(error.sent)
                raise

        async def timed():
            with raises(asyncio.TimeoutError):
                await asyncio.wait_for(give_up(), 0.05)

        asyncio.run(timed())
        assert 2 <= sent[0] <= 12
        to.read()
        to.sender.send((sent[0], b"")).block()
    assert [number for number, _ in to.values] == [*range(sent[0] + 1)]


@check
def send_many_that_lost_a_select_goes_on_where_it_was():
    def late(parent):
        Receiver(parent).recv().block()
        Sender(parent).send("late").block()
        wait(parent)

    with waiting() as other, Collecting() as to:
        remote = spawn(late).block()
        receiver = Receiver(remote)
        many = to.sender.send_many((number, BLOCK) for number in range(40))
        recv = receiver.recv()
        Sender(remote).send("go").block()
        assert select(many, recv).block() == (1, "late")
        to.read()
        assert select(many, Receiver(other).recv()).block() == (0, None)
        Sender(remote, name="end").send(None).block()
    assert [number for number, _ in to.values] == [*range(40)]


@check
def to_who_is_gone():
    child = spawn(dies).block()
    status = gone(child)
    assert status.signal == "SIGKILL"
    sender = Sender(child)
    for attempt in (
        lambda: sender.send(1).block(),
        lambda: sender.try_send(1),
        lambda: sender.send_many([1]).block(),
    ):
        with raises(ProcessExited) as caught:
            attempt()
        assert caught.error.pid == child
        assert caught.error.status == status, caught.error.status
    assert "SIGKILL" in str(caught.error)
    sender.close()


def dies(parent):
    die()


@check
def who_goes_while_a_send_waits():
    def stubborn(parent):
        Sender(parent).send(os.getpid()).block()
        wait(parent)

    child = spawn(stubborn).block()
    number = Receiver(child).recv().block()
    sender = Sender(child)
    caught = []

    def offer():
        try:
            sender.send_many([BLOCK] * 100).block()
        except ProcessExited as error:
            caught.append(error)

    thread = threading.Thread(target=offer)
    thread.start()
    thread.join(0.05)
    assert thread.is_alive()
    sender.flush().block()
    os.kill(number, signal.SIGKILL)
    thread.join()
    assert caught[0].status.signal == "SIGKILL"
    assert 2 <= caught[0].sent <= 12


@check
def flush_has_everything_received():
    def killed(parent):
        sender = Sender(parent)
        sender.send_many(range(50)).block()
        sender.send(bytes(300_000)).block()
        sender.flush().block()
        die()

    for _ in range(5):
        receiver = Receiver(spawn(killed).block())
        assert [receiver.recv().block() for _ in range(50)] == [*range(50)]
        assert len(receiver.recv().block()) == 300_000
        with raises(ProcessExited) as caught:
            receiver.recv().block()
        assert caught.error.status.signal == "SIGKILL"


@check
def flush_of_nothing_and_again():
    with Collecting() as to:
        for _ in range(3):
            to.sender.flush().block()
        to.sender.send(1).block()
        for _ in range(3):
            to.sender.flush().block()

        async def both():
            await asyncio.gather(flush(to.sender), send(to.sender, 2), flush(to.sender))

        asyncio.run(both())
    assert to.values == [1, 2]


async def flush(sender):
    await sender.flush()


@check
def a_closed_sender_is_refused():
    with Collecting() as to:
        to.sender.send(1).block()
        to.sender.close()
        to.sender.close()
        for attempt in (
            lambda: to.sender.send(2).block(),
            lambda: to.sender.try_send(2),
            lambda: to.sender.send_many([2]).block(),
        ):
            with raises(ChannelError) as caught:
                attempt()
            assert type(caught.error) is ChannelError
            assert "closed" in str(caught.error)
    assert to.values == [1]


@check
def closing_ends_a_send_that_waits():
    with Collecting() as to:
        sent = to.fill()
        caught = []

        def offer():
            try:
                to.sender.send((-1, BLOCK)).block()
            except ChannelError as error:
                caught.append(error)

        threads = [threading.Thread(target=offer) for _ in range(3)]
        for thread in threads:
            thread.start()
            thread.join(0.02)
        to.sender.close()
        for thread in threads:
            thread.join()
        assert [type(error) for error in caught] == [ChannelError] * 3
    assert [number for number, _ in to.values] == [*range(sent)]


@check
def each_way_of_closing_is_told():
    def ways(parent):
        with Sender(parent, name="with") as sender:
            sender.send("with").block()

        async def asynchronous():
            async with Sender(parent, name="async with") as sender:
                await sender.send("async with")

        asyncio.run(asynchronous())
        try:
            with Sender(parent, name="raising") as sender:
                sender.send("raising").block()
                raise KeyError
        except KeyError:
            pass
        Sender(parent, name="dropped").send("dropped").block()
        Sender(parent, name="silent").close()
        sender = Sender(parent, name="close")
        sender.send("close").block()
        sender.close()
        del sender
        kept = Sender(parent, name="cycle")
        kept.send("cycle").block()
        cycle = [kept]
        cycle.append(cycle)
        del kept, cycle
        gc.collect()
        wait(parent)

    child = spawn(ways).block()
    for name in ("with", "async with", "raising", "dropped", "close", "cycle"):
        assert list(Receiver(child, name=name)) == [name]
    assert list(Receiver(child, name="silent")) == []
    Sender(child, name="end").send(None).block()


@check
def a_new_sender_goes_on_with_the_stream():
    def each(parent):
        Receiver(parent, name="read").recv().block()
        with Sender(parent) as answers:
            for _ in range(5):
                answers.send(list(Receiver(parent))).block()

    child = spawn(each).block()
    Sender[int](child).send(1).block()
    Sender[str](child).send("two").block()
    sender = Sender[list](child)
    sender.send([BLOCK]).block()
    sender.close()
    with Sender(child, codec="json") as sender:
        sender.send({"four": [4]}).block()
        sender.send(5).block()
    Sender(child, codec="raw").send(b"six").block()
    Sender(child, name="read").send(True).block()
    assert list(Receiver(child)) == [[1], ["two"], [[BLOCK]], [{"four": [4]}, 5], [b"six"]]


@check
def codecs_send_what_they_can():
    def echo(parent):
        for name in ("pickle", "raw", "json", "msgpack"):
            back = Sender(parent, name=name)
            back.send_many((type(value), value) for value in Receiver(parent, name=name)).block()
            back.close()

    child = spawn(echo).block()
    sent = {
        "pickle": ([1, (2, {3})], [1, (2, {3})]),
        "raw": (b"\0raw", b"\0raw"),
        "json": ({"a": [1, 2.5, None, "ü"]}, {"a": [1, 2.5, None, "ü"]}),
        "msgpack": ({1: b"x", "b": [True]}, {1: b"x", "b": [True]}),
    }
    bad = {
        "pickle": threading.Lock(),
        "raw": "text",
        "json": {1j},
        "msgpack": {1j},
    }
    for codec, (value, there) in sent.items():
        with Sender(child, name=codec, codec=codec) as sender:
            sender.send(value).block()
            with raises(SerializationError):
                sender.send(bad[codec]).block()
            sender.send_many([value, value]).block()
        assert list(Receiver(child, name=codec)) == [(type(there), there)] * 3, codec


@check
def raw_takes_anything_that_is_bytes():
    child = spawn(collect).block()
    with Sender(child, codec="raw") as sender:
        data = bytearray(b"abc")
        sender.send(data).block()
        data[0] = 0
        sender.send(memoryview(b"xabcx")[1:4]).block()
        sender.send(b"").block()
        sender.send(bytes(1_000_000)).block()
    Sender(child, name="read").send(True).block()
    values = Receiver(child).recv().block()
    assert values == [b"abc", b"abc", b"", bytes(1_000_000)]
    assert {type(value) for value in values} == {bytes}


if __name__ == "__main__":
    main()
