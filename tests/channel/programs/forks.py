"""Forks of a process by `os.fork` and `multiprocessing`: no channels in them, and no harm done."""

import concurrent.futures
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import warnings
from functools import partial

from checking import check, main

from constellation import Receiver, Sender, join, pid, select, spawn

TEXT = (
    "this process was forked from a constellation process by os.fork() or multiprocessing; "
    "channels and spawn() work only in the process that made them: use spawn() instead"
)


def in_fork(function):
    """Runs it in a fork, and gives how that ended and what it printed on stderr."""
    read, write = os.pipe()
    number = os.fork()
    if not number:
        os.dup2(write, 2)
        code = 1
        try:
            function()
            code = 0
        except BaseException as error:  # noqa: BLE001 - told to the parent
            os.write(2, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        text = file.read().decode()
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]), text


def echo(parent):
    sender = Sender(parent)
    for value in Receiver(parent):
        sender.send(value).block()


def numbers(parent):
    with Sender(parent) as sender:
        sender.send_many(range(10)).block()


@check
def everything_is_refused_with_a_clear_error():
    child = spawn(echo).block()
    sender, receiver = Sender(child), Receiver(child)
    sender.send_many([1, 2, 3]).block()
    assert receiver.recv().block() == 1  # the others are there
    many = Receiver(spawn(numbers).block())
    assert many.recv().block() == 0  # the others came with it
    for attempt in (
        lambda: sender.send(1).block(),
        lambda: sender.try_send(1),
        lambda: sender.send_many([1]).block(),
        lambda: sender.flush().block(),
        lambda: receiver.recv().block(),
        lambda: receiver.recv().block(timeout=5),
        receiver.try_recv,
        lambda: many.recv().block(),
        many.try_recv,
        lambda: list(receiver),
        lambda: select(receiver.recv()).block(),
        lambda: join(receiver.recv()).block(),
        lambda: spawn(echo).block(),
        lambda: Sender(child, name="x"),
        lambda: Receiver(child, name="x"),
        sender.close,
        receiver.close,
    ):
        code, text = in_fork(attempt)
        assert (code, text) == (1, f"RuntimeError: {TEXT}"), (attempt.__code__.co_firstlineno, text)
    assert [receiver.recv().block() for _ in range(2)] == [2, 3]
    assert list(many) == [*range(1, 10)]
    sender.close()


@check
def what_needs_no_channel_works():
    child = spawn(echo).block()
    sender, receiver = Sender(child), Receiver(child)

    def look():
        assert pid() != child
        assert repr(sender).startswith("<Sender to")
        assert receiver.remote_pid == child

    assert in_fork(look) == (0, "")
    sender.send(1).block()
    assert receiver.recv().block() == 1
    sender.close()


@check
def a_fork_drops_its_handles_quietly():
    child = spawn(echo).block()
    sender, receiver = Sender(child), Receiver(child)
    holder = [sender, receiver]

    def drop():
        holder.clear()
        gc.collect()

    del sender, receiver
    assert in_fork(drop) == (0, "")
    sender, receiver = holder
    sender.send(2).block()
    assert receiver.recv().block() == 2
    sender.close()


@check
def a_fork_that_leaves_through_the_interpreter_is_quiet():
    """It runs what is registered with atexit."""
    child = spawn(echo).block()
    sender, receiver = Sender(child), Receiver(child)
    sender.send(0).block()
    read, write = os.pipe()
    number = os.fork()
    if not number:
        os.dup2(write, 2)
        os.dup2(write, 1)
        sys.exit(7)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        text = file.read()
        assert text == b"", text
    assert os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) == 7
    for value in range(5):
        assert receiver.recv().block() == value
        sender.send(value + 1).block()
    sender.close()


def square(number):
    return number * number


def tries(child):
    try:
        Sender(child, name="x").send(1).block()
    except RuntimeError as error:
        return str(error)
    return "worked"


@check
def multiprocessing_works_beside_channels():
    child = spawn(echo).block()
    sender, receiver = Sender(child), Receiver(child)
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        sender.send(1).block()
        assert pool.map(square, range(20)) == [number * number for number in range(20)]
        assert receiver.recv().block() == 1
        assert pool.apply(tries, (child,)) == TEXT
    process = context.Process(target=square, args=(3,))
    process.start()
    process.join()
    assert process.exitcode == 0
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
        assert list(executor.map(square, range(5))) == [0, 1, 4, 9, 16]
    sender.send(2).block()
    assert receiver.recv().block() == 2
    sender.close()


@check
def in_spawned_processes_too():
    def forks(parent):
        context = multiprocessing.get_context("fork")
        with context.Pool(2) as pool:
            values = pool.map(square, range(5))
        Sender(parent).send((values, in_fork(lambda: Sender(parent, name="x")))).block()

    values, (code, text) = Receiver(spawn(forks).block()).recv().block()
    assert values == [0, 1, 4, 9, 16]
    assert (code, text) == (1, f"RuntimeError: {TEXT}")


@check
def subprocesses_are_no_forks_of_ours():
    child = spawn(echo).block()
    sender, receiver = Sender(child), Receiver(child)
    for number in range(5):
        sender.send(number).block()
        done = subprocess.run([sys.executable, "-c", "print(5)"], capture_output=True, check=True)
        assert done.stdout == b"5\n"
        assert receiver.recv().block() == number
    sender.close()


def limited(attempt):
    signal.alarm(20)
    attempt()


@check
def forks_under_traffic_hang_nobody():
    """A lock that another thread held at the fork is held for ever in the fork."""
    child = spawn(echo).block()
    sender, receiver = Sender(child), Receiver(child)
    received = []
    threads = [
        threading.Thread(target=lambda: sender.send_many(range(30_000)).block()),
        threading.Thread(target=lambda: received.extend(receiver)),
    ]
    for thread in threads:
        thread.start()
    attempts = [
        lambda: sender.send(1).block(),
        lambda: receiver.recv().block(),
        receiver.try_recv,
        lambda: Sender(child, name="x"),
        receiver.close,
        sender.close,
    ]
    for number in range(30):
        attempt = attempts[number % len(attempts)]
        code, text = in_fork(partial(limited, attempt))
        assert (code, text) == (1, f"RuntimeError: {TEXT}"), (number, code, text)
    threads[0].join()
    sender.close()
    threads[1].join()
    assert received == [*range(30_000)]


if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)  # forks with threads, the subject here
    main()
