"""Channels used by many threads and tasks at once, `select` and `join` over them, cancellation."""

import asyncio
import gc
import logging
import random
import sys
import threading
import time
import warnings
from collections import Counter

from checking import check, gone, main, raises, wait, waiting

from constellation import (
    ChannelClosed,
    ChannelTypeError,
    ProcessExited,
    Receiver,
    Sender,
    WouldBlock,
    join,
    select,
    spawn,
)


def run_threads(function, count):
    """Runs it in several threads, each with its number, and raises what any of them raised."""
    errors = []

    def run(number):
        try:
            function(number)
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def echo(parent):
    """Sends back what comes, until it is closed."""
    with Sender(parent) as sender:
        for value in Receiver(parent):
            sender.send(value).block()


def in_order(values, count):
    """Each of several sources was numbered by itself: nothing is missing, double or overtaken."""
    for source in range(count):
        numbers = [number for which, number in values if which == source]
        assert numbers == [*range(len(numbers))], (source, numbers[:50])
    return len(values)


@check
def many_threads_send_on_one_sender():
    child = spawn(echo).block()
    with Sender(child) as sender:

        def send(thread):
            for number in range(200):
                sender.send((thread, number)).block()
                if number % 50 == 0:
                    sender.flush().block()

        run_threads(send, 6)
    assert in_order(list(Receiver(child)), 6) == 1200


@check
def many_threads_receive_on_one_receiver():
    def produce(parent):
        with Sender(parent) as sender:
            for start in range(0, 1000, 10):
                sender.send_many(range(start, start + 10)).block()

    receiver = Receiver(spawn(produce).block())
    parts = [[] for _ in range(5)]

    def take(thread):
        if thread % 2:
            parts[thread].extend(receiver)
        else:
            parts[thread].extend(asyncio.run(listed(receiver)))

    run_threads(take, 5)
    assert all(part == sorted(part) for part in parts)
    assert sorted(value for part in parts for value in part) == [*range(1000)]


async def listed(receiver):
    return [value async for value in receiver]


@check
def many_threads_with_a_channel_each():
    def answer(parent):
        def one(number):
            name = str(number)
            with Sender(parent, name=name) as sender:
                for value in Receiver(parent, name=name):
                    sender.send(value + 1).block()

        run_threads(one, 8)

    child = spawn(answer).block()

    def ask(number):
        name = str(number)
        with Sender(child, name=name) as sender, Receiver(child, name=name) as receiver:
            for value in range(100):
                sender.send(value).block()
                assert receiver.recv().block() == value + 1

    run_threads(ask, 8)


@check
def a_thread_that_sends_and_one_that_receives_fill_no_window():
    child = spawn(echo).block()
    sender, receiver = Sender(child), Receiver(child)
    values = [(0, number, bytes(50_000)) for number in range(300)]

    def one(number):
        if number:
            assert [value[1] for value in receiver] == [*range(300)]
        else:
            sender.send_many(values).block()
            sender.close()

    run_threads(one, 2)


@check
def many_tasks_on_one_channel():
    child = spawn(echo).block()
    sender, receiver = Sender(child), Receiver(child)

    async def send(task):
        for number in range(100):
            await sender.send((task, number))
            if number % 10 == task:
                await asyncio.sleep(0)

    async def tasks():
        values = []

        async def take():
            async for value in receiver:
                values.append(value)  # noqa: PERF401 - several share the list

        takers = [asyncio.ensure_future(take()) for _ in range(3)]
        await asyncio.gather(*map(send, range(6)))
        sender.close()
        await asyncio.gather(*takers)
        return values

    assert in_order(asyncio.run(tasks()), 6) == 600


@check
def threads_tasks_and_two_loops_at_once():
    child = spawn(echo).block()
    sender = Sender(child)

    async def tasks(thread):
        await asyncio.gather(*(task(10 * thread + number) for number in range(3)))

    async def task(source):
        for number in range(50):
            await sender.send((source, number))

    def send(thread):
        if thread < 2:
            asyncio.run(tasks(thread))
        else:
            for number in range(50):
                sender.send((10 * thread, number)).block()

    values = []
    taker = threading.Thread(target=lambda: values.extend(Receiver(child)))
    taker.start()
    run_threads(send, 4)
    sender.close()
    taker.join()
    assert in_order(values, 31) == 8 * 50


@check
def loops_come_and_go():
    child = spawn(echo).block()
    sender, receiver = Sender(child), Receiver(child)

    async def ask(value):
        await sender.send(value)
        return await receiver.recv()

    for value in range(50):
        assert asyncio.run(ask(value)) == value
        sender.send(value).block()
        assert receiver.recv().block() == value
    sender.close()


@check
def a_cancelled_recv_loses_nothing():
    def slowly(parent):
        with Sender(parent) as sender:
            for number in range(300):
                sender.send(number).block()
                if number % 3 == 0:
                    sender.flush().block()

    receiver = Receiver(spawn(slowly).block())
    values = []

    async def take():
        values.append(await receiver.recv())

    async def cancelling():
        while True:
            task = asyncio.ensure_future(take())
            for _ in range(random.randrange(4)):
                await asyncio.sleep(0)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                pass
            except ChannelClosed:
                return

    asyncio.run(cancelling())
    assert values == [*range(300)]


@check
def wait_for_loses_nothing():
    def slowly(parent):
        with Sender(parent) as sender:
            for number in range(200):
                sender.send(number).block()
                time.sleep(random.random() * 0.002)

    receiver = Receiver(spawn(slowly).block())
    values = []

    async def take():
        value = await receiver.recv()
        values.append(value)  # wait_for itself may drop the result of a task that it cancels late

    async def timing():
        while True:
            try:
                await asyncio.wait_for(take(), 0.0005)
            except asyncio.TimeoutError:
                pass
            except ChannelClosed:
                return

    asyncio.run(timing())
    assert values == [*range(200)]


@check
def a_cancelled_spawn_leaves_no_process():
    started = []

    def child(parent):
        Sender(parent).send(None).block()

    async def start():
        started.append(await spawn(child))

    async def cancelling():
        for turn in range(10):
            task = asyncio.ensure_future(start())
            await asyncio.sleep(turn * 0.0005)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                pass

    asyncio.run(cancelling())
    for each in started:
        assert Receiver(each).recv().block() is None


def numbers(parent, count):
    with Sender(parent) as sender:
        for number in range(count):
            sender.send(number).block()
            if random.random() < 0.1:
                time.sleep(0.001)


@check
def select_over_fifty_receivers_with_random_timeouts():
    receivers = {index: Receiver(spawn(numbers, 20).block()) for index in range(50)}
    values = {index: [] for index in receivers}
    while receivers:
        indices = list(receivers)
        try:
            which, value = select(*(receivers[index].recv() for index in indices)).block(
                timeout=random.choice([None, 0, 0.0001, 0.001, 0.01])
            )
        except TimeoutError:
            continue
        except ChannelClosed as error:
            del receivers[indices[error.index]]
            continue
        values[indices[which]].append(value)
    assert all(each == [*range(20)] for each in values.values())


@check
def the_same_in_asyncio_with_tasks_that_are_cancelled():
    async def selecting():
        receivers = {index: Receiver(await spawn(numbers, 20)) for index in range(20)}
        values = {index: [] for index in receivers}

        async def one():
            indices = list(receivers)
            try:
                which, value = await select(*(receivers[index].recv() for index in indices))
            except ChannelClosed as error:
                del receivers[indices[error.index]]
            else:
                values[indices[which]].append(value)

        while receivers:
            task = asyncio.ensure_future(one())
            await asyncio.wait([task], timeout=random.choice([None, 0, 0.0005]))
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                pass
        return values

    assert all(each == [*range(20)] for each in asyncio.run(selecting()).values())


@check
def select_is_fair():
    def flood(parent):
        with Sender(parent) as sender:
            sender.send_many(range(1000)).block()
            sender.flush().block()
            Sender(parent, name="ready").send(True).block()

    children = [spawn(flood).block() for _ in range(3)]
    for child in children:
        assert Receiver(child, name="ready").recv().block()
    receivers = [Receiver(child) for child in children]
    seen = Counter(select(*(each.recv() for each in receivers)).block()[0] for _ in range(600))
    assert all(seen[index] > 60 for index in range(3)), seen
    for index, receiver in enumerate(receivers):
        assert list(receiver) == [*range(seen[index], 1000)]


@check
def select_among_sends_and_receives():
    child = spawn(echo).block()
    sender, receiver = Sender(child), Receiver(child)
    block = bytes(300_000)
    sent, values = 0, []
    while len(values) < 100:
        operations = [receiver.recv()]
        if sent < 100:
            operations.append(sender.send((0, sent, block)))
        which, value = select(*operations).block()
        if which == 0:
            values.append(value[1])
        else:
            sent += 1
        del operations
    assert values == [*range(100)]
    sender.close()


@check
def the_losers_may_be_used_again():
    with waiting() as other:
        child = spawn(echo).block()
        sender, receiver = Sender(child), Receiver(child)
        silent = Receiver(other).recv()
        for number in range(5):
            sender.send(number).block()
            assert select(silent, receiver.recv()).block() == (1, number)
        recv = receiver.recv()
        with raises(TimeoutError):
            select(silent, recv).block(timeout=0.01)
        sender.send("again").block()
        assert recv.block() == "again"
        with raises(RuntimeError):
            recv.block()
        sender.close()
        with raises(ChannelClosed) as caught:
            select(silent, receiver.recv()).block()
        assert caught.error.index == 1
        with raises(TimeoutError):
            silent.block(timeout=0)


@check
def errors_of_select_say_which():
    def typed(parent):
        sender = Sender[int](parent)
        sender.send(1).block()
        wait(parent)
        del sender

    def nothing(parent):
        pass

    child, ended = spawn(typed).block(), spawn(nothing).block()
    wrong = Receiver[str](child)
    with raises(ChannelTypeError) as caught:
        select(Receiver(child, name="x").recv(), wrong.recv()).block()
    assert caught.error.index == 1
    with raises(ProcessExited) as caught:
        select(Receiver(child, name="x").recv(), Receiver(ended).recv()).block()
    assert caught.error.index == 1
    wrong.close()
    assert Receiver(child).recv().block() == 1
    Sender(child, name="end").send(None).block()


@check
def join_over_channels():
    children = [spawn(numbers, 3).block() for _ in range(5)]
    receivers = [Receiver(child) for child in children]
    assert join(*(receiver.recv() for receiver in receivers)).block() == [0] * 5
    first = receivers[0]
    assert join(first.recv(), receivers[1].recv(), first.recv()).block() == [1, 1, 2]
    with raises(ChannelClosed) as caught:
        join(receivers[1].recv(), receivers[2].recv(), first.recv()).block()
    assert caught.error.index == 2
    # What had come is there again.
    assert list(receivers[1]) == [2]
    assert list(receivers[2]) == [1, 2]

    async def both():
        return await join(receivers[3].recv(), receivers[4].recv(), spawn(numbers, 1))

    *values, started = asyncio.run(both())
    assert values == [1, 1]
    assert Receiver(started).recv().block() == 0


@check
def a_join_that_gives_up_gives_back():
    def numbered(parent):
        with Sender(parent) as sender:
            for number in range(100):
                sender.send(number).block()
                time.sleep(random.random() * 0.001)
        wait(parent)

    child = spawn(numbered).block()
    receiver = Receiver(child)
    values = []
    while len(values) < 98:
        try:
            values += join(receiver.recv(), receiver.recv(), receiver.recv()).block(timeout=0.001)
        except TimeoutError:
            pass
        except ChannelClosed:
            break
    assert values + list(receiver) == [*range(100)]
    Sender(child, name="end").send(None).block()


@check
def an_operation_that_is_forgotten_warns_of_its_line():
    with waiting() as child, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sender, receiver = Sender(child), Receiver(child)
        line = sys._getframe().f_lineno
        sender.send(1)
        sender.send_many([1])
        sender.flush()
        receiver.recv()
        spawn(wait)
        select(receiver.recv())
        gc.collect()
        del sender, receiver
    texts = [(str(each.message), each.lineno - line) for each in caught]
    told = "was never awaited nor blocked on"
    assert sorted(texts) == sorted(
        [
            (f"send() to {child} {told}", 1),
            (f"send_many() to {child} {told}", 2),
            (f"flush() to {child} {told}", 3),
            (f"recv() from {child} {told}", 4),
            (f"spawn() of wait {told}", 5),
            (f"recv() from {child} {told}", 6),
            (f"select() of 1 operations {told}", 6),
        ]
    ), texts
    assert {each.category for each in caught} == {RuntimeWarning}
    assert {each.filename for each in caught} == {__file__}


@check
def an_operation_runs_once():
    child = spawn(echo).block()
    sender, receiver = Sender(child), Receiver(child)

    async def twice(operation):
        await operation
        with raises(RuntimeError):
            await operation

    for value in range(3):
        send = sender.send(value)
        send.block()
        with raises(RuntimeError):
            send.block()
        recv = receiver.recv()
        assert recv.block() == value
        with raises(RuntimeError):
            select(recv).block()
        asyncio.run(twice(sender.send(value)))
        asyncio.run(twice(receiver.recv()))
    many = sender.send_many([7])
    many.block()
    with raises(RuntimeError):
        many.block()
    sender.close()
    assert list(receiver) == [7]


@check
def blocking_within_a_loop():
    child = spawn(echo).block()
    sender, receiver = Sender(child), Receiver(child)

    async def mixed():
        other = asyncio.ensure_future(first(receiver))
        await asyncio.sleep(0)
        sender.send("for the task").block()
        assert await other == "for the task"
        sender.send("for the thread").block()
        assert receiver.recv().block() == "for the thread"

    asyncio.run(mixed())
    sender.close()


async def first(receiver):
    return await receiver.recv()


def until_told(parent):
    """Holds up whatever runs this."""
    stop = Receiver(parent, name="stop")
    Sender(parent, name="held up").send(True).block()
    while True:
        try:
            return stop.try_recv()
        except WouldBlock:
            time.sleep(0.01)


def busy(parent):
    async def both():
        waits = asyncio.ensure_future(first(Receiver(parent)))
        await asyncio.sleep(0)
        until_told(parent)
        assert await waits == 1

    asyncio.run(both())


def still(parent):
    loop = asyncio.new_event_loop()
    waits = loop.create_task(first(Receiver(parent)))
    loop.run_until_complete(asyncio.sleep(0))
    until_told(parent)
    assert loop.run_until_complete(waits) == 1
    loop.close()


@check
def a_loop_that_does_not_run_does_not_stop_its_process_receiving():
    """Its task waits; who flushes to it, and what does not need the loop, goes on."""
    children = [spawn(busy).block(), spawn(still).block()]
    for child in children:
        assert Receiver(child, name="held up").recv().block()
    time.sleep(1.5)  # until nothing else of theirs is due
    for child in children:
        with Sender(child) as sender:
            sender.send(1).block()
            sender.flush().block(timeout=30)
        Sender(child, name="stop").send(True).block()
    for child in children:
        assert gone(child).success


@check
def a_loop_that_is_closed_with_tasks_that_wait_harms_nobody():
    logger = logging.getLogger("asyncio")
    logger.disabled = True  # it tells of each task
    child = spawn(echo).block()
    sender, receiver = Sender(child), Receiver(child)
    loop = asyncio.new_event_loop()
    others = [Receiver(child, name=str(number)) for number in range(20)]
    tasks = [loop.create_task(first(other)) for other in others]
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    for number in range(100):
        sender.send(number).block()
        assert receiver.recv().block() == number
    for other in others[:10]:
        other.close()
    sender.close()
    assert gone(child).success
    del others, other, tasks
    gc.collect()
    assert asyncio.run(listed(Receiver(spawn(numbers, 3).block()))) == [0, 1, 2]
    logger.disabled = False


if __name__ == "__main__":
    sys.setswitchinterval(1e-4)
    main()
