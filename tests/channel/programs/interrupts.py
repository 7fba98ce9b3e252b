"""Ctrl-C and other signals whose handlers raise, in whatever waits."""

import asyncio
import contextlib
import itertools
import os
import random
import signal
import sys
import threading
import time
import warnings

from checking import check, main, raises, wait, waiting

from constellation import (
    ChannelClosed,
    ProcessExited,
    Receiver,
    Sender,
    WouldBlock,
    join,
    select,
    spawn,
)


class Interrupt(BaseException):
    """What the handler raises: as Ctrl-C does, but no `KeyboardInterrupt`.

    Where C code has shown one of those, Python 3.14 dies of SIGINT in the end.
    """


class Alarm(Exception):
    """What another one raises."""


handled = 0  # how often the handler ran
shown = 0  # how often what it raised was shown, and not raised


def handler(number, frame):
    global handled
    handled += 1
    raise Interrupt


def unraisable(info):
    # pyzmq lets handlers run where it cannot raise, in the finalizer of a Frame.
    global shown
    if isinstance(info.exc_value, Interrupt):
        shown += 1
    elif not isinstance(info.exc_value, Alarm):
        sys.__unraisablehook__(info)


def uncaught(kind, error, trace):
    if not isinstance(error, (Interrupt, Alarm)):
        sys.__excepthook__(kind, error, trace)


sys.unraisablehook = unraisable
sys.excepthook = uncaught  # the traceback that comes with it
# An interrupt may come between the making of an operation and its start.
warnings.filterwarnings("ignore", ".*was never awaited nor blocked on", RuntimeWarning)


class Alarms:
    """Signals to this process, while the block runs: every few milliseconds, or once."""

    def __init__(self, first, then=0.0):
        self.first, self.then = first, then

    def __enter__(self):
        self.before = signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, self.first, self.then)
        return self

    def __exit__(self, kind, error, trace):
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self.before)


def interrupted(operation):
    with Alarms(0.02), raises(Interrupt):
        operation.block(timeout=30)


@check
def ctrl_c_interrupts_whatever_blocks():
    with waiting() as child:
        sender, receiver = Sender(child), Receiver(child)
        number = os.getpid()
        for make in (
            receiver.recv,
            lambda: sender.send_many([bytes(1_000_000)] * 100),
            lambda: into_a_full_window(sender),
            lambda: select(receiver.recv(), Receiver(child, name="x").recv()),
            lambda: join(receiver.recv(), Receiver(child, name="x").recv()),
            lambda: Iterated(receiver),
        ):
            operation = make()
            with raises(KeyboardInterrupt):
                threading.Timer(0.02, os.kill, [number, signal.SIGINT]).start()
                operation.block()
            del operation  # and its Receiver
        sender.close()


def into_a_full_window(sender):
    """The interrupt may have come before the window was full."""
    with contextlib.suppress(WouldBlock):
        while True:
            sender.try_send(bytes(1_000_000))
    return sender.send(bytes(1_000_000))


class Iterated:
    def __init__(self, receiver):
        self.receiver = receiver

    def block(self, timeout=None):
        for _ in self.receiver:
            pass


@check
def ctrl_c_interrupts_a_thread_that_is_not_the_one_that_waits_on_the_socket():
    with waiting() as child:
        errors = []

        def other():
            try:
                Receiver(child, name="other").recv().block()
            except ProcessExited as error:
                errors.append(error)

        thread = threading.Thread(target=other)
        thread.start()
        time.sleep(0.02)  # it leads the wait now
        receiver = Receiver(child)
        for _ in range(5):
            interrupted(receiver.recv())
    thread.join()
    assert len(errors) == 1


@check
def an_interrupted_wait_is_handed_on():
    def answer(parent):
        Receiver(parent).recv().block()
        Sender(parent, name="other").send("there").block()
        wait(parent)

    child = spawn(answer).block()
    receiver = Receiver(child)
    values = []
    thread = threading.Thread(
        target=lambda: values.append(Receiver(child, name="other").recv().block())
    )
    with Alarms(0.05), raises(Interrupt):
        threading.Timer(0.01, thread.start).start()
        receiver.recv().block()  # leads, while the other sleeps
    Sender(child).send(None).block()
    thread.join()
    assert values == ["there"]
    Sender(child, name="end").send(None).block()


@check
def what_waits_is_there_after_many_interrupts():
    """The values come one by one between interrupts, so none comes in the moment of one."""

    def echo(parent):
        sender = Sender(parent)
        for value in Receiver(parent):
            sender.send(value).block()

    child = spawn(echo).block()
    sender, receiver = Sender(child), Receiver(child)
    for number in range(20):
        try:
            with Alarms(0.0005 + random.random() * 0.001):
                receiver.recv().block()
        except Interrupt:
            pass
        sender.send(number).block()
        assert receiver.recv().block() == number
    sender.close()


@check
def a_send_that_was_interrupted_sent_its_value_or_did_not():
    """Interrupts at any moment: nothing is double or overtaken, and the channel goes on."""

    def collect(parent):
        for value in Receiver(parent):
            if value[0] % 50 == 0:
                time.sleep(0.001)
            seen.append(value[0])
        Sender(parent).send(seen).block()

    seen = []
    child = spawn(collect).block()
    sender = Sender(child)
    done = []
    sizes = [10, 1000, 70_000, 400_000]
    numbers = itertools.count(1)
    end = time.monotonic() + 1

    def send():
        # In the `try` itself, Python 3.13.0 raises at the end of such a loop past the `except`.
        while time.monotonic() < end:
            number = next(numbers)
            sender.send((number, bytes(random.choice(sizes)))).block()
            done.append(number)

    while time.monotonic() < end:
        try:
            with Alarms(0.0001 + random.random() * 0.003):
                send()
        except Interrupt:
            pass
    sender.close()
    received = Receiver(child).recv().block()
    assert received == sorted(set(received)), "in order, each once"
    assert set(done) <= set(received), "what was said to be sent is there"


@check
def receiving_under_interrupts_goes_on():
    """What is lost is at most a value that was taken in the moment of an interrupt."""

    def produce(parent):
        with Sender(parent) as sender:
            for number in range(20_000):
                sender.send((number, bytes(200))).block()

    receiver = Receiver(spawn(produce).block())
    values, interrupts = [], 0
    before = handled - shown
    while True:
        try:
            with Alarms(0.0001 + random.random() * 0.003):
                while True:
                    values.append(receiver.recv().block()[0])
        except Interrupt:
            interrupts += 1
        except ChannelClosed:
            break
    assert values == sorted(set(values))
    assert len(values) >= 20_000 - interrupts
    assert handled - shown - before == interrupts, "each was raised"


@check
def whatever_a_handler_raises_is_raised():
    """Also where there is nothing to receive, which pyzmq tells by an error."""

    def echo(parent):
        sender = Sender(parent)
        for value in Receiver(parent):
            sender.send(value).block()

    child = spawn(echo).block()
    sender, receiver = Sender(child), Receiver(child)
    before = handled - shown
    interrupts = 0
    end = time.monotonic() + 1

    def exchange():
        # Not in the `try` itself: see `send` above, of another check.
        while time.monotonic() < end:
            sender.send(None).block()
            receiver.recv().block()

    while time.monotonic() < end:
        try:
            with Alarms(0.0001 + random.random() * 0.001):
                exchange()
        except Interrupt:
            interrupts += 1
        try:
            while True:  # so that there is something to wait for again
                receiver.try_recv()
        except WouldBlock:
            pass
    sender.close()
    for _ in receiver:
        pass
    assert handled - shown - before == interrupts > 0


@check
def what_a_handler_raises_is_not_the_fault_of_a_value():
    """The classic alarm: an `Exception`, which comes while a value is encoded or decoded."""

    def alarm(number, frame):
        raise Alarm

    def echo(parent):
        sender = Sender(parent)
        for value in Receiver(parent):
            sender.send(value).block()

    child = spawn(echo).block()
    sender, receiver = Sender(child), Receiver(child)
    value = [{"key": str(number)} for number in range(2000)]
    before = signal.signal(signal.SIGALRM, alarm)
    alarms = 0
    for _ in range(300):
        for step in (lambda: sender.send(value).block(), lambda: receiver.recv().block()):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0001 + random.random() * 0.002)
                step()
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Alarm:
                alarms += 1
                break
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    assert alarms > 10
    sender.close()
    for _ in receiver:  # what the interrupted ones left
        pass


@check
def a_spawn_that_was_interrupted_started_nothing_or_all():
    def child(parent, number):
        try:
            Sender(parent).send(number).block()
        except ProcessExited:
            pass

    started = []
    for number in range(30):
        try:
            with Alarms(random.random() * 0.01):
                started.append((spawn(child, number).block(), number))
                time.sleep(0.02)
        except Interrupt:
            pass
    for each, number in started:
        assert Receiver(each).recv().block() == number


@check
def ctrl_c_ends_a_loop_and_nothing_is_lost():
    def produce(parent):
        with Sender(parent) as sender:
            for number in range(100):
                sender.send(number).block()
        wait(parent)

    receiver = Receiver(spawn(produce).block())

    silent = Receiver(receiver.remote_pid, name="silent")

    async def forever():
        async for _ in silent:
            pass

    for _ in range(3):
        with raises(KeyboardInterrupt):
            threading.Timer(0.03, os.kill, [os.getpid(), signal.SIGINT]).start()
            asyncio.run(forever())
    assert list(receiver) == [*range(100)]
    Sender(receiver.remote_pid, name="end").send(None).block()


@check
def handlers_that_return_disturb_nothing():
    count = 0

    def counting(number, frame):
        nonlocal count
        count += 1

    def produce(parent):
        with Sender(parent) as sender:
            for number in range(2000):
                sender.send(number).block()
                if number % 100 == 0:
                    time.sleep(0.005)

    before = signal.signal(signal.SIGALRM, counting)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        assert list(Receiver(spawn(produce).block())) == [*range(2000)]
        with waiting() as child, raises(TimeoutError):
            Receiver(child).recv().block(timeout=0.05)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert count > 10


if __name__ == "__main__":
    main()
