"""Large buffers at a receiver that cannot map what it is lent: nothing of them is lost."""

from __future__ import annotations

from pathlib import Path

import programs
import pytest

COMMON = """
    import ctypes, gc, itertools, os, resource, signal, sys, time
    import numpy as np
    from constellation import ProcessExited, Receiver, Sender, init, spawn
    from constellation.channel import context
    from constellation.transport import memory as lending
    from constellation.transport.memory import Memory

    SIZE = 1 << 20
    resource.RLIMIT_NOFILE  # imported while there are descriptors for it

    def transport():
        return context.current().transport

    def until(condition):
        while not condition():
            time.sleep(0.001)

    def filled(number):
        return np.full(SIZE, number % 251, np.uint8)

    def check(array, number):
        assert array.shape == (SIZE,) and (array == number % 251).all() and array.flags.writeable
        array += 1

    def shared(parent):
        '''A Sender through which arrays go by memory, to a receiver that waits for the word.'''
        sender = Sender(parent)
        sender.send(filled(0)).block()
        until(lambda: transport().peer(parent).lends)
        sender.send(os.getpid()).block()
        Receiver(parent).recv().block()
        return sender

    def receiving(child):
        receiver = Receiver(child)
        check(receiver.recv().block(), 0)
        return receiver, receiver.recv().block()

    class Starving:
        '''There is no descriptor left.'''

        def __enter__(self):
            self.limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            highest = max(map(int, os.listdir("/proc/self/fd")))
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, self.limits[1]))
            self.opened = []
            try:
                while True:
                    self.opened.append(os.dup(0))
            except OSError:
                pass

        def __exit__(self, *_):
            resource.setrlimit(resource.RLIMIT_NOFILE, self.limits)
            for fd in self.opened:
                os.close(fd)

    def become_a_stranger():
        '''Its files are closed to others; the superuser has to become another user for that.'''
        if os.geteuid() != 0:
            ctypes.CDLL(None).prctl(4, 0)  # PR_SET_DUMPABLE

    def see_strangers():
        if os.geteuid() == 0:
            os.setuid(65534)
"""


def run(tmp_path: Path, source: str) -> bytes:
    done = programs.run(programs.write(tmp_path, COMMON + source))
    for node in done.tree.all():
        assert (node.end, node.err) == (0, b"")
    return done.tree.out


def test_a_receiver_without_a_descriptor_gets_everything_in_order(tmp_path: Path) -> None:
    out = run(
        tmp_path,
        """
    def child(parent):
        with shared(parent) as sender:
            for number in range(40):
                sender.send((number, filled(number), "between", filled(number + 1))).block()
                sender.send(number).block()
        blocks = transport().memory.pool._blocks.values()
        assert not transport().peer(parent).lends
        until(lambda: transport().memory.pool._reclaim(0.0) or all(
            block.free_since is not None for block in blocks))

    init()
    pid = spawn(child).block()
    receiver, _ = receiving(pid)
    with Starving():
        Sender(pid).send("go").block()
        for number in range(40):
            got, first, word, second = receiver.recv().block()
            assert (got, word) == (number, "between")
            check(first, number)
            check(second, number + 1)
            assert receiver.recv().block() == number
        assert list(receiver) == []
    assert transport().memory._wanted == {}
    print("fine")
        """,
    )
    assert out == b"fine\n"


def test_a_receiver_that_is_another_user_by_now_gets_everything(tmp_path: Path) -> None:
    out = run(
        tmp_path,
        """
    def child(parent):
        with shared(parent) as sender:
            become_a_stranger()
            for number in range(20):
                sender.send(filled(number)).block()
        assert not transport().peer(parent).lends

    init()
    pid = spawn(child).block()
    receiver, number = receiving(pid)
    see_strangers()
    Sender(pid).send("go").block()
    for number, array in enumerate(receiver):
        check(array, number)
    print(number)
        """,
    )
    assert out == b"19\n"


def test_sharing_goes_on_when_it_can(tmp_path: Path) -> None:
    """It comes and goes all the time, at two channels at once."""
    out = run(
        tmp_path,
        """
    COUNT = 150

    def child(parent):
        sender, other = shared(parent), Sender(parent, name="other")
        lending._OFFER_AGAIN = 0.0
        asked = []
        ask = Memory.asked
        Memory.asked = lambda *arguments: (asked.append(arguments), ask(*arguments))
        number = 0
        while number < COUNT or not transport().peer(parent).lends:
            sender.send((number, filled(number))).block()
            other.send((number, filled(number + 1))).block()
            number += 1
        sender.close()
        other.close()
        assert asked, "it was refused"

    init()
    pid = spawn(child).block()
    receiver, _ = receiving(pid)
    other = Receiver(pid, name="other")
    Sender(pid).send("go").block()
    lent = [0, 0]
    borrow = lending.Ledger.borrow
    def counting(self, reference):
        lent[0] += 1
        buffer = borrow(self, reference)
        lent[1] += 1
        return buffer
    lending.Ledger.borrow = counting
    starving = None
    for number, (first, second) in enumerate(zip(receiver, other)):
        if number < COUNT and number % 5 == 0:
            if starving:
                starving.__exit__()
                starving = None
            else:
                starving = Starving()
                starving.__enter__()
        for (got, array), more in ((first, 0), (second, 1)):
            assert got == number
            check(array, number + more)
    assert not starving and list(receiver) == list(other) == []
    print("fine", lent[0] > lent[1] > 0)
        """,
    )
    assert out == b"fine True\n"


def test_what_was_flushed_outlives_a_sender_that_is_killed(tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        COMMON
        + """
    def child(parent):
        sender = shared(parent)
        for number in range(5):
            sender.send(filled(number)).block()
        sender.flush().block()
        os.kill(os.getpid(), signal.SIGKILL)

    init()
    pid = spawn(child).block()
    receiver, _ = receiving(pid)
    with Starving():
        Sender(pid).send("go").block()
        for number in range(5):
            check(receiver.recv().block(), number)
        try:
            receiver.recv().block()
        except ProcessExited as error:
            print(error.status)
        """,
    )
    assert programs.run(path).tree.out == b"SIGKILL\n"


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGKILL)", "os._exit(0)"])
def test_what_a_sender_took_along_ends_its_stream(tmp_path: Path, end: str) -> None:
    """What came before that is there, and what came after it is not."""
    path = programs.write(
        tmp_path,
        COMMON
        + f"""
    def child(parent):
        sender = shared(parent)
        Memory.asked = lambda *_: {end}
        sender.send("before").block()
        sender.send(filled(1)).block()
        sender.send("after").block()
        sender.close()
        time.sleep(60)

    init()
    pid = spawn(child).block()
    receiver, _ = receiving(pid)
    with Starving():
        Sender(pid).send("go").block()
        seen = []
        try:
            for value in receiver:
                seen.append(value)
        except ProcessExited as error:
            print(seen, error.status)
    assert transport().memory._wanted == {{}}
        """,
    )
    assert programs.run(path).tree.out == (
        b"['before'] SIGKILL\n" if "kill" in end else b"['before'] 0\n"
    )


def test_a_sender_that_waits_for_nothing_leaves_what_it_lends_behind(tmp_path: Path) -> None:
    """It says that it leaves; what is missing then ends its stream."""
    path = programs.write(
        tmp_path,
        COMMON
        + """
    def child(parent):
        sender = shared(parent)
        Memory.asked = lambda *_: None
        sender.send("before").block()
        sender.send(filled(1)).block()
        sender.send("after").block()

    init(linger=0.1)
    pid = spawn(child).block()
    receiver, _ = receiving(pid)
    with Starving():
        Sender(pid).send("go").block()
        seen = []
        try:
            for value in receiver:
                seen.append(value)
        except ProcessExited as error:
            print(seen, error.status)
        """,
    )
    tree = programs.run(path).tree
    assert tree.out == b"['before'] 0\n"
    assert b"may not have been received" in tree.children[0].err
