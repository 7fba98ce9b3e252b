"""`recv`, `try_recv`, iteration, and how handles of one channel follow each other."""

import asyncio
import gc
import os
import random
import signal
import sys
import threading
import time

from checking import check, die, gone, main, raises, wait, waiting

from constellation import (
    ChannelClosed,
    ChannelError,
    ProcessExited,
    Receiver,
    Sender,
    SerializationError,
    WouldBlock,
    join,
    select,
    spawn,
)


def sends(*values, end=None):
    """A process that sends these and closes."""

    def start(parent):
        with Sender(parent) as sender:
            sender.send_many(values).block()
        if end is not None:
            end()

    return start


def spawned(*values, **options):
    return spawn(sends(*values, **options)).block()


async def listed(receiver):
    return [value async for value in receiver]


@check
def the_end_of_a_channel():
    receiver = Receiver(spawned(1, 2))
    assert [receiver.recv().block() for _ in range(2)] == [1, 2]
    for attempt in (lambda: receiver.recv().block(), receiver.try_recv) * 3:
        with raises(ChannelClosed) as caught:
            attempt()
        assert caught.error.pid == receiver.remote_pid
        assert caught.error.name == ""


@check
def it_is_final_for_its_receiver_and_not_for_the_next():
    def twice(parent):
        Sender(parent, name="n").send(1).block()
        Sender(parent, name="n").send(2).block()
        wait(parent)

    child = spawn(twice).block()
    receiver = Receiver(child, name="n")
    assert list(receiver) == [1]
    assert list(receiver) == []
    with raises(ChannelClosed) as caught:
        receiver.recv().block()
    assert caught.error.name == "n"
    assert "'n'" in str(caught.error)
    receiver.close()
    assert list(Receiver(child, name="n")) == [2]
    Sender(child, name="end").send(None).block()


@check
def loops():
    child = spawned(1, 2, 3)
    assert list(Receiver(child)) == [1, 2, 3]
    child = spawned(1, 2, 3)
    assert asyncio.run(listed(Receiver(child))) == [1, 2, 3]
    assert list(Receiver(spawned())) == []
    assert asyncio.run(listed(Receiver(spawned()))) == []


@check
def loops_go_on_after_an_error_and_after_a_timeout():
    def unreadable(parent):
        Sender(parent).send_many([1, Unreadable(), 2]).block()

    values, got = iter(Receiver(spawn(unreadable).block())), []
    while True:
        try:
            got.append(next(values))
        except SerializationError:
            got.append("error")
        except StopIteration:
            break
    assert got == [1, "error", 2]

    async def patient():
        values, got = aiter(Receiver(spawn(slow).block())), []
        while True:
            try:
                got.append(await asyncio.wait_for(values.__anext__(), 0.02))
            except asyncio.TimeoutError:
                pass
            except StopAsyncIteration:
                return got

    assert asyncio.run(patient()) == [0, 1, 2]


def slow(parent):
    sender = Sender(parent)
    for number in range(3):
        time.sleep(0.05)
        sender.send(number).block()


@check
def select_leaves_the_users_random_numbers_alone():
    receivers = [Receiver(spawned(*range(20))) for _ in range(2)]
    random.seed(1)
    state = random.getstate()
    for _ in range(20):
        select(*(receiver.recv() for receiver in receivers)).block()
    assert random.getstate() == state


@check
def loops_may_be_left_and_entered_again():
    with Receiver(spawned(*range(10))) as receiver:
        for value in receiver:
            if value == 3:
                break
        assert next(iter(receiver)) == 4
        assert receiver.recv().block() == 5

        async def one():
            async for value in receiver:
                return value
            return None

        assert asyncio.run(one()) == 6
        assert list(receiver) == [7, 8, 9]


def kept(parent, end, *values):
    sender = Sender(parent)
    sender.send_many(values).block()
    sender.flush().block()
    end()


def exit_at_once():
    os._exit(5)


@check
def a_process_that_ends_without_closing():
    for end, attribute, value in ((die, "signal", "SIGKILL"), (exit_at_once, "code", 5)):
        child = spawn(kept, end, 1, 2, 3).block()
        receiver = Receiver(child)
        assert receiver.recv().block() == 1
        values = []
        with raises(ProcessExited) as caught:
            for each in receiver:
                values.append(each)  # noqa: PERF402 - those before the error count
        assert values == [2, 3]
        assert caught.error.pid == child
        assert getattr(caught.error.status, attribute) == value
        for attempt in (receiver.recv().block, receiver.try_recv, receiver.recv().block):
            with raises(ProcessExited):
                attempt()
        with raises(ProcessExited):
            asyncio.run(listed(receiver))


@check
def a_process_that_never_opened_a_sender():
    def nothing(parent):
        pass

    for _ in range(5):
        receiver = Receiver(spawn(nothing).block())
        with raises(ProcessExited) as caught:
            receiver.recv().block()
        assert caught.error.status.success
        with raises(ProcessExited):
            list(receiver)
        receiver.close()
        with raises(ProcessExited):
            Receiver(receiver.remote_pid).recv().block()
        with raises(ProcessExited):
            Receiver(receiver.remote_pid, name="other").recv().block()


@check
def the_end_first_then_the_exit():
    child = spawned(1)
    gone(child)
    receiver = Receiver(child)
    assert receiver.recv().block() == 1
    with raises(ChannelClosed):
        receiver.recv().block()
    receiver.close()
    with raises(ProcessExited):
        Receiver(child).recv().block()


@check
def what_an_exited_process_sent_waits_for_a_receiver():
    def many(parent):
        for name in "abc":
            Sender(parent, name=name).send_many([name] * 100).block()

    child = spawn(many).block()
    assert gone(child).code == 0
    gc.collect()
    for name in "cab":
        assert list(Receiver(child, name=name)) == [name] * 100


@check
def trying():
    def slow(parent):
        Receiver(parent).recv().block()
        with Sender(parent) as sender:
            sender.send("x").block()
        wait(parent)

    child = spawn(slow).block()
    receiver = Receiver(child)
    for _ in range(3):
        with raises(WouldBlock):
            receiver.try_recv()
    Sender(child).send(None).block()
    while True:
        try:
            assert receiver.try_recv() == "x"
        except WouldBlock:
            continue
        except ChannelClosed:
            break
    Sender(child, name="end").send(None).block()


@check
def a_timeout_loses_nothing():
    def ticks(parent):
        sender = Sender(parent)
        for number in range(200):
            sender.send(number).block()
            if number % 10 == 0:
                sender.flush().block()
        sender.close()
        wait(parent)

    child = spawn(ticks).block()
    receiver = Receiver(child)
    values = []
    try:
        while True:
            try:
                values.append(receiver.recv().block(timeout=0.0001))
            except TimeoutError:
                pass
    except ChannelClosed:
        pass
    assert values == [*range(200)]
    Sender(child, name="end").send(None).block()


@check
def a_timeout_says_what_did_not_come():
    with waiting() as child:
        operation = Receiver(child).recv()
        with raises(TimeoutError, f"recv() from {child} did not complete within 0.01 seconds"):
            operation.block(timeout=0.01)


@check
def a_closed_receiver_is_refused():
    with waiting(lambda parent: kept(parent, lambda: None, 1, 2)) as child:
        receiver = Receiver(child)
        assert receiver.recv().block() == 1
        receiver.close()
        receiver.close()
        for attempt in (lambda: receiver.recv().block(), receiver.try_recv, lambda: [*receiver]):
            with raises(ChannelError) as caught:
                attempt()
            assert type(caught.error) is ChannelError
            assert "closed" in str(caught.error)
        assert Receiver(child).recv().block() == 2


@check
def closing_ends_a_recv_that_waits():
    with waiting() as child:
        receiver = Receiver(child)
        caught = []

        def take():
            try:
                receiver.recv().block()
            except ChannelError as error:
                caught.append(type(error))

        threads = [threading.Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
            thread.join(0.01)

        async def close():
            task = asyncio.ensure_future(first(receiver))
            await asyncio.sleep(0.01)
            receiver.close()
            with raises(ChannelError):
                await task

        asyncio.run(close())
        for thread in threads:
            thread.join()
        assert caught == [ChannelError] * 4


async def first(receiver):
    return await receiver.recv()


@check
def each_way_of_closing_lets_a_new_one_be_made():
    child = spawned(*range(9))
    with Receiver(child) as receiver:
        assert receiver.recv().block() == 0

    async def asynchronous():
        async with Receiver(child) as receiver:
            assert await receiver.recv() == 1

    asyncio.run(asynchronous())
    assert Receiver(child).recv().block() == 2
    assert Receiver[int](child).recv().block() == 3
    receiver = Receiver(child)
    cycle = [receiver]
    cycle.append(cycle)
    assert receiver.recv().block() == 4
    del receiver, cycle
    gc.collect()
    iterator = iter(Receiver(child))
    assert next(iterator) == 5
    del iterator
    try:
        with Receiver(child) as receiver:
            assert receiver.recv().block() == 6
            raise KeyError
    except KeyError:
        pass
    assert list(Receiver(child)) == [7, 8]


@check
def a_pending_recv_keeps_its_receiver():
    def late(parent):
        Receiver(parent).recv().block()
        Sender(parent).send(1).block()

    child = spawn(late).block()
    operation = Receiver(child).recv()
    gc.collect()
    Sender(child).send(None).block()
    assert operation.block() == 1


@check
def the_end_is_told_to_who_read_of_that_sender():
    def two(parent):
        Sender(parent).send_many([1, 2]).block()
        Sender(parent).send_many([3, 4]).block()
        wait(parent)

    # The second Receiver reads of the first Sender too, and is told of its end.
    child = spawn(two).block()
    assert Receiver(child).recv().block() == 1
    assert list(Receiver(child)) == [2]
    assert list(Receiver(child)) == [3, 4]
    Sender(child, name="end").send(None).block()

    # The second one comes when the first has read all: it skips the end.
    child = spawn(two).block()
    receiver = Receiver(child)
    assert [receiver.recv().block() for _ in range(2)] == [1, 2]
    receiver.close()
    assert list(Receiver(child)) == [3, 4]
    Sender(child, name="end").send(None).block()


@check
def an_end_without_values_is_told_to_the_first():
    def empty(parent):
        Sender(parent).close()
        Sender(parent).close()
        Sender(parent).send(1).block()
        Sender(parent).close()
        wait(parent)

    child = spawn(empty).block()
    assert list(Receiver(child)) == []
    assert list(Receiver(child)) == []
    assert list(Receiver(child)) == [1]
    assert list(Receiver(child)) == []
    with raises(TimeoutError):
        Receiver(child).recv().block(timeout=0.01)
    Sender(child, name="end").send(None).block()


@check
def a_receiver_that_took_nothing_has_no_part_in_it():
    def later(parent):
        Receiver(parent).recv().block()
        Sender(parent).send(1).block()
        Sender(parent).send(2).block()
        wait(parent)

    child = spawn(later).block()
    receiver = Receiver(child)
    with raises(TimeoutError):
        receiver.recv().block(timeout=0.01)
    receiver.close()
    Sender(child).send(None).block()
    assert list(Receiver(child)) == [1]
    assert list(Receiver(child)) == [2]
    Sender(child, name="end").send(None).block()


@check
def handles_dropped_and_made_again_at_both_ends_lose_nothing():
    count = 300

    def one_by_one(parent):
        for number in range(count):
            Sender[int](parent).send(number).block()
        wait(parent)

    child = spawn(one_by_one).block()
    assert [Receiver[int](child).recv().block() for _ in range(count)] == [*range(count)]
    Sender(child, name="end").send(None).block()


@check
def both_ends_change_the_type_as_they_go():
    kinds = [int, str, float, bytes, list]

    def several(parent):
        for number in range(50):
            kind = kinds[number % 5]
            Sender[kind](parent).send(kind()).block()

    child = spawn(several).block()
    for number in range(50):
        kind = kinds[number % 5]
        value = Receiver[kind](child).recv().block()
        assert type(value) is kind


class Unreadable:
    def __reduce__(self):
        return fails, ()


def fails():
    raise KeyError("not here")


@check
def a_value_that_cannot_be_decoded_is_one_error():
    def mixed(parent):
        with Sender(parent) as sender:
            sender.send_many([1, Unreadable(), 2]).block()
            sender.send(Unreadable()).block()
            sender.send([bytes(500_000), Unreadable()]).block()
            sender.send(3).block()

    receiver = Receiver(spawn(mixed).block())
    seen = []
    while True:
        try:
            seen.append(receiver.recv().block())
        except SerializationError as error:
            assert "not here" in str(error)
            assert isinstance(error.__cause__, KeyError)
            seen.append("error")
        except ChannelClosed:
            break
    assert seen == [1, "error", 2, "error", "error", 3]


@check
def what_is_received_is_ones_own():
    def again(parent):
        value = [1]
        with Sender(parent) as sender:
            for _ in range(3):
                sender.send(value).block()

    one, two, three = Receiver(spawn(again).block())
    one.append(2)
    assert (one, two, three) == ([1, 2], [1], [1])


@check
def an_exit_wakes_all_who_wait():
    with waiting() as other:

        def ends(parent):
            Sender(parent, name="number").send(os.getpid()).block()
            wait(parent)

        child = spawn(ends).block()
        number = Receiver(child, name="number").recv().block()
        receivers = [Receiver(child, name=str(each)) for each in range(5)]
        caught = []

        def take(receiver):
            try:
                receiver.recv().block()
            except ProcessExited as error:
                caught.append(error.status.signal)

        threads = [threading.Thread(target=take, args=(each,)) for each in receivers]
        for thread in threads:
            thread.start()
        os.kill(number, signal.SIGKILL)
        with raises(ProcessExited) as error:
            join(Receiver(other).recv(), Receiver(child, name="x").recv()).block()
        assert error.error.index == 1
        for thread in threads:
            thread.join()
        assert caught == ["SIGKILL"] * 5


@check
def grandchildren_and_siblings():
    def leaf(parent, to):
        Sender(to).send("from a grandchild").block()

    def middle(parent, to, sibling):
        spawn(leaf, to).block()
        Sender(sibling).send("from a sibling").block()
        wait(parent)

    def sibling(parent):
        friend = Receiver(parent).recv().block()
        Sender(parent).send(Receiver(friend).recv().block()).block()

    from constellation import pid

    one = spawn(sibling).block()
    two = spawn(middle, pid(), one).block()
    Sender(one).send(two).block()
    assert Receiver(one).recv().block() == "from a sibling"
    Sender(two, name="end").send(None).block()


@check
def a_process_that_only_receives_may_come_first_or_last():
    def early(parent, delay):
        if delay:
            gone_first = Receiver(parent, name="go").recv().block()
            assert gone_first
        with Sender(parent, name="answer") as answer:
            answer.send(list(Receiver(parent))).block()

    for delay in (False, True):
        child = spawn(early, delay).block()
        with Sender(child) as sender:
            sender.send_many(range(100)).block()
        Sender(child, name="go").send(True).block()
        assert Receiver(child, name="answer").recv().block() == [*range(100)]


if __name__ == "__main__":
    sys.setswitchinterval(1e-4)
    main()
