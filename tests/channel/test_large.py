"""Large buffers, which cross memory once: what a user may do with them, and what ends with them."""

from __future__ import annotations

import signal
from pathlib import Path

import programs
import pytest

COMMON = """
    import gc, os, signal, sys, time, warnings
    import numpy as np
    from constellation import ChannelClosed, ProcessExited, Receiver, Sender, init, spawn
    from constellation.channel import context

    SIZE = 1 << 20

    def memory():
        return context.current().transport.memory

    def until(condition):
        while not condition():
            time.sleep(0.01)

    def shared(parent):
        '''A Sender through which arrays go by memory: the first one goes before it is agreed on.'''
        sender = Sender(parent)
        sender.send(np.zeros(SIZE, np.uint8)).block()
        until(lambda: context.current().transport.peer(parent).lends)
        return sender
"""


def run(tmp_path: Path, source: str) -> bytes:
    done = programs.run(programs.write(tmp_path, COMMON + source))
    for node in done.tree.all():
        assert (node.end, node.err) == (0, b"")
    return done.tree.out


def test_they_go_by_memory_and_are_equal_and_the_receivers_own(tmp_path: Path) -> None:
    out = run(
        tmp_path,
        """
    def child(parent):
        sender = shared(parent)
        array = np.arange(SIZE // 8, dtype=np.float64)
        for number in range(20):
            array[0] = number
            sender.send((number, array, array.reshape(8, -1), "text")).block()
            array[0] = -1  # is not seen by the receiver
        assert memory().pool._blocks
        Receiver(parent).recv().block()

    init()
    pid = spawn(child).block()
    receiver = Receiver(pid)
    assert receiver.recv().block().sum() == 0
    kept = []
    for number in range(20):
        got, flat, square, text = receiver.recv().block()
        assert (got, text, flat[0], square[0, 0]) == (number, "text", number, number)
        assert (flat[1:] == np.arange(1, SIZE // 8)).all()
        assert flat.flags.writeable
        flat += 1
        assert square[0, 0] == number
        kept.append(flat)
    assert [flat[0] for flat in kept] == list(range(1, 21))
    assert len(memory().mapped) > 1
    Sender(pid).send("done").block()
    print("fine")
        """,
    )
    assert out == b"fine\n"


def test_more_than_can_be_mapped_are_all_kept(tmp_path: Path) -> None:
    out = run(
        tmp_path,
        """
    def child(parent):
        sender = shared(parent)
        for number in range(200):
            sender.send(np.full(SIZE // 4, number, np.uint8)).block()

    init()
    receiver = Receiver(spawn(child).block())
    arrays = list(receiver)[1:]
    # The sender is gone, and what it sent is not.
    assert all((array == number).all() for number, array in enumerate(arrays))
    print(len(arrays), len(memory().mapped) <= 64, len(os.listdir("/proc/self/fd")) < 100)
        """,
    )
    assert out == b"200 True True\n"


def test_a_readonly_array_stays_one(tmp_path: Path) -> None:
    out = run(
        tmp_path,
        """
    def child(parent):
        sender = shared(parent)
        array = np.ones(SIZE, np.uint8)
        array.flags.writeable = False
        sender.send(array).block()

    init()
    receiver = Receiver(spawn(child).block())
    print([array.flags.writeable for array in receiver])
        """,
    )
    assert out == b"[True, False]\n"


def test_a_fork_of_the_receiver_has_values_of_its_own(tmp_path: Path) -> None:
    out = run(
        tmp_path,
        """
    def child(parent):
        sender = shared(parent)
        for number in range(60):
            sender.send(np.full(SIZE, number, np.uint8)).block()
        Receiver(parent).recv().block()

    init()
    pid = spawn(child).block()
    receiver = Receiver(pid)
    receiver.recv().block()
    array = receiver.recv().block()
    ours, theirs = os.pipe()
    warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
    forked = os.fork()
    if forked == 0:
        os.read(ours, 1)  # the parent has written to its array, dropped it, and got others
        right = (array == 0).all()
        array[:] = 200
        del array
        os._exit(0 if right else 1)
    array[:] = 100
    assert (array == 100).all()
    del array
    rest = [receiver.recv().block() for _ in range(30)]
    os.write(theirs, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]) == 0
    rest += [receiver.recv().block() for _ in range(29)]
    assert all((array == number).all() for number, array in enumerate(rest, 1))
    Sender(pid).send("done").block()
    print("fine")
        """,
    )
    assert out == b"fine\n"


def test_memory_is_given_back_when_nothing_is_sent_any_more(tmp_path: Path) -> None:
    out = run(
        tmp_path,
        """
    def child(parent):
        sender = shared(parent)
        for number in range(50):
            sender.send(np.full(SIZE, number, np.uint8)).block()
        until(lambda: not memory().pool._blocks)
        sender.send(np.full(SIZE, 50, np.uint8)).block()  # and is there when it is needed again
        Receiver(parent).recv().block()

    init()
    pid = spawn(child).block()
    receiver = Receiver(pid)
    for number in range(51):
        receiver.recv().block()
    assert (receiver.recv().block() == 50).all()
    until(lambda: not memory().mapped)
    Sender(pid).send("done").block()
    print("fine")
        """,
    )
    assert out == b"fine\n"


def test_gigantic_values_of_all_kinds_are_intact_and_leave_nothing(tmp_path: Path) -> None:
    out = run(
        tmp_path,
        """
    LARGE = (33 << 20) + 12345

    def child(parent):
        pattern = np.arange(LARGE // 8, dtype=np.uint64)
        data = pattern.tobytes() + b"end"
        changed = bytearray(data)
        with Sender(parent) as sender:
            for first in (pattern, data, changed, (1, changed, data, pattern[::2]), pattern):
                sender.send(first).block()
                if first is pattern:
                    until(lambda: context.current().transport.peer(parent).lends)
        with Sender(parent, name="raw", codec="raw") as raw:
            raw.send_many([changed, data, memoryview(pattern)]).block()
            changed[:] = bytes(len(changed))  # is not seen by the receiver
        Receiver(parent).recv().block()
        until(lambda: not (memory().pool._blocks or memory().pool._leaving))

    init()
    pid = spawn(child).block()
    pattern = np.arange(LARGE // 8, dtype=np.uint64)
    data = pattern.tobytes() + b"end"
    with Receiver(pid) as values:
        array, content, mutable, several, last = values
    assert (array == pattern).all() and (last == pattern).all()
    assert (content, type(mutable), bytes(mutable)) == (data, bytearray, data)
    assert (several[0], several[1], several[2]) == (1, data, data)
    assert (several[3] == pattern[::2]).all()
    with Receiver(pid, name="raw") as raw:
        assert list(raw) == [data, data, data[:-3]]
    assert memory().mapped
    del array, last, several
    until(lambda: not (memory().mapped or memory()._leaving))
    Sender(pid).send("done").block()
    print("fine")
        """,
    )
    assert out == b"fine\n"


def test_an_interrupt_while_memory_is_given_back_loses_no_value(tmp_path: Path) -> None:
    out = run(
        tmp_path,
        """
    LARGE = 40 << 20

    def child(parent):
        with Sender(parent) as sender:
            for number in range(3):
                sender.send(bytes([number]) * LARGE).block()

    init()
    from constellation.channel import receiver as module
    give_back = module.give_back
    def interrupted(parts):
        give_back(parts)
        raise KeyboardInterrupt
    module.give_back = interrupted
    receiver = Receiver(spawn(child).block())
    seen = []
    while True:
        try:
            value = receiver.recv().block()
        except KeyboardInterrupt:
            seen.append("interrupt")
        except ChannelClosed:
            break
        else:
            seen.append((value[0], value[-1], len(value) == LARGE))
    print(seen)
        """,
    )
    values = [(number, number, True) for number in range(3)]
    assert out.decode() == f"{[each for value in values for each in ('interrupt', value)]}\n"


def test_what_was_not_sent_after_all_takes_no_block(tmp_path: Path) -> None:
    out = run(
        tmp_path,
        """
    def child(parent):
        sender = shared(parent)
        Receiver(parent).recv().block()
        for number in range(200):
            try:
                sender.send(np.full(SIZE, number, np.uint8)).block(timeout=0.001)
            except TimeoutError:
                pass
        assert len(memory().pool._blocks) < 20
        sender.send("end").block()

    init()
    pid = spawn(child).block()
    receiver = Receiver(pid)
    receiver.recv().block()
    Sender(pid).send("go").block()
    time.sleep(0.5)
    seen = []
    while not isinstance(value := receiver.recv().block(), str):
        assert (value == value[0]).all()
        seen.append(int(value[0]))
    assert seen == sorted(set(seen)) and seen[0] == 0
    print("fine")
        """,
    )
    assert out == b"fine\n"


@pytest.mark.parametrize("end", ["returns", "fails", "is killed"])
def test_what_was_received_outlives_its_sender(tmp_path: Path, end: str) -> None:
    path = programs.write(
        tmp_path,
        COMMON
        + f"""
    def child(parent):
        sender = shared(parent)
        for number in range(3):
            sender.send(np.full(SIZE, number, np.uint8)).block()
        sender.flush().block()
        if {end!r} == "fails":
            raise ValueError
        if {end!r} == "is killed":
            os.kill(os.getpid(), signal.SIGKILL)

    init()
    receiver = Receiver(spawn(child).block())
    arrays = []
    try:
        for array in receiver:
            arrays.append(array)
        print("closed")
    except ProcessExited as error:
        print(error.status)
    assert [int(array[-1]) for array in arrays] == [0, 0, 1, 2]
    print(len(arrays))
        """,
    )
    ends = {"returns": "closed", "fails": "1", "is killed": signal.SIGKILL.name}
    assert programs.run(path).tree.out.decode() == f"{ends[end]}\n4\n"


def test_a_receiver_that_is_killed_takes_no_memory_along(tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        COMMON
        + """
    def child(parent):
        Sender(parent).send("here").block()
        receiver = Receiver(parent)
        arrays = [receiver.recv().block() for _ in range(3)]
        os.kill(os.getpid(), signal.SIGKILL)

    init()
    for _ in range(3):
        pid = spawn(child).block()
        Receiver(pid).recv().block()
        sender = Sender(pid)
        try:
            while True:
                sender.send(np.ones(SIZE, np.uint8)).block()
        except ProcessExited as error:
            assert error.status.signal == "SIGKILL"
        until(lambda: all(block.free_since for block in memory().pool._blocks.values()))
    print("fine")
        """,
    )
    tree = programs.run(path).tree
    assert (tree.end, tree.out) == (0, b"fine\n")


def test_a_fork_that_drops_an_array_gives_nobodys_memory_away(tmp_path: Path) -> None:
    out = run(
        tmp_path,
        """
    def holder(parent):
        receiver, sender = Receiver(parent), Sender(parent)
        warnings.simplefilter("ignore", DeprecationWarning)
        array = None
        for command in receiver:
            answer = "done"
            if isinstance(command, np.ndarray):
                array = command
            elif command == "show":
                answer = sorted(set(array.tolist()))
            elif command == "fork":
                forked = os.fork()
                if forked == 0:
                    del array  # the fork drops it, and the process that forked has it still
                    os._exit(0)
                os.waitpid(forked, 0)
            elif command == "drop":
                array = None
            command = None
            sender.send(answer).block()

    def do(who, command):
        handles[who][0].send(command).block()
        return handles[who][1].recv().block()

    def filled(number):
        return np.full(SIZE, number, np.uint8)

    init()
    first, second, third = (spawn(holder).block() for _ in range(3))
    handles = {each: (Sender(each), Receiver(each)) for each in (first, second, third)}
    for each in handles:
        do(each, filled(0))
        do(each, "drop")
    do(first, filled(1))
    do(first, "fork")
    do(second, filled(2))
    do(first, "drop")
    do(third, filled(3))
    do(second, "drop")
    for number in range(4, 8):
        do(first, filled(number))
        do(second, filled(number))
        do(first, "drop")
        do(second, "drop")
    print(do(third, "show"))
        """,
    )
    assert out == b"[3]\n"


def test_a_receiver_that_ends_while_a_value_is_copied_keeps_no_block(tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        COMMON
        + """
    def child(parent):
        Sender(parent).send(os.getpid()).block()
        receiver = Receiver(parent)
        while True:
            receiver.recv().block()

    def late(self, peer, data):
        part = lend(self, peer, data)
        if part is not None:
            os.kill(number, signal.SIGKILL)
            until(lambda: peer.ended)
        return part

    init()
    from constellation.transport.memory import Memory
    lend, Memory.lend = Memory.lend, late
    pid = spawn(child).block()
    number = Receiver(pid).recv().block()
    sender = Sender(pid)
    try:
        while True:
            sender.send(np.ones(SIZE, np.uint8)).block()
    except ProcessExited:
        pass
    print([block.free_since for block in memory().pool._blocks.values()])
        """,
    )
    assert programs.run(path).tree.out == b"[]\n"


def test_a_reference_may_be_cut_in_two(tmp_path: Path) -> None:
    """It is behind what fills a fragment but for some bytes, or but for none."""
    out = run(
        tmp_path,
        """
    def child(parent):
        sender = shared(parent)
        array = np.arange(SIZE // 8, dtype=np.float64)
        for number in range(200):
            sender.send((bytes(262_144 - number), array)).block()

    init()
    receiver = Receiver(spawn(child).block())
    receiver.recv().block()
    for number in range(200):
        filling, array = receiver.recv().block()
        assert filling == bytes(262_144 - number)
        assert (array == np.arange(SIZE // 8)).all()
        del array
    assert len(memory().mapped) > 0
    print("fine")
        """,
    )
    assert out == b"fine\n"
