"""What broke channels in systems like this one, re-enacted at a size that takes seconds.

Each test ends with the check of tests/conftest.py: no process, socket, file or memory is left.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import programs
import pytest

ALL_TO_ALL = """
import sys
import threading
from constellation import *

def node(parent, count):
    others = Receiver(parent).recv().block()
    go = Receiver(parent, name="go")
    Sender(parent).send("ready").block()
    go.recv().block()
    # The handles stay until the end, so that what is sent late finds its reader.
    senders = [Sender(other) for other in others]
    receivers = [Receiver(other) for other in others]

    def send():
        for number in range(count):
            for sender in senders:
                sender.send(number).block()
        for sender in senders:
            sender.close()

    thread = threading.Thread(target=send)
    thread.start()
    good = sum(list(receiver) == [*range(count)] for receiver in receivers)
    thread.join()
    Sender(parent, name="result").send(good).block()

def main():
    init()
    size, count = map(int, sys.argv[1:])
    pids = join(*(spawn(node, count) for _ in range(size))).block()
    senders = [Sender(each) for each in pids]
    receivers = [Receiver(each) for each in pids]
    for sender, own in zip(senders, pids):
        sender.send([each for each in pids if each != own]).block()
    for receiver in receivers:
        receiver.recv().block()
    go = [Sender(each, name="go") for each in pids]
    for each in go:
        each.send(True).block()
    results = [Receiver(each, name="result").recv().block() for each in pids]
    print(results == [size - 1] * size)

main()
"""


@pytest.mark.parametrize(("size", "count"), [(2, 2000), (30, 100)])
def test_all_to_all_at_the_same_instant(tmp_path: Path, size: int, count: int) -> None:
    done = programs.run(programs.write(tmp_path, ALL_TO_ALL), str(size), str(count))
    assert done.tree.out == b"True\n"
    assert all(node.end == 0 and node.err == b"" for node in done.tree.all())
    assert done.code == 0


CROSSING = """
import threading
from constellation import *

def node(parent):
    while (other := Receiver(parent).recv().block()) is not None:
        thread = threading.Thread(target=lambda: Sender(other).send("here").block())
        thread.start()
        assert Receiver(other).recv().block() == "here"
        thread.join()
        Sender(parent).send("met").block()

def main():
    init()
    pids = join(*(spawn(node) for _ in range(24))).block()
    met = 0
    for shift in range(1, 24):
        # All meet two others at once, and in the next round others.
        pairs = [(each, each ^ shift) for each in range(16) if shift < 16]
        for one, other in pairs:
            Sender(pids[one]).send(pids[other]).block()
        for one, _ in pairs:
            assert Receiver(pids[one]).recv().block() == "met"
        met += len(pairs) // 2
    for each in pids:
        Sender(each).send(None).block()
    print(met)

main()
"""


def test_pairs_that_open_channels_to_each_other_at_the_same_instant(tmp_path: Path) -> None:
    done = programs.run(programs.write(tmp_path, CROSSING))
    assert done.tree.out == b"120\n"
    assert all(node.end == 0 and node.err == b"" for node in done.tree.all())


LEAVING = """
import os, signal, sys, time
from constellation import *

BLOCK = bytes(100_000)

def child(parent, end, count):
    sender = Sender(parent)
    for number in range(count):
        sender.send((number, BLOCK)).block()
    print("sent", flush=True)
    if end == "exit":
        sys.exit(3)
    if end == "raise":
        raise ValueError("at the end")

def reads(end):
    receiver = Receiver(spawn(child, end, 200).block())
    time.sleep(1)
    numbers = []
    try:
        for number, block in receiver:
            assert block == BLOCK
            numbers.append(number)
    except ProcessExited as error:
        print(error.status.code)
    print(numbers == [*range(200)])

def main():
    init(linger=float(sys.argv[2]) if len(sys.argv) > 2 else None)
    match sys.argv[1]:
        case "return" | "exit" | "raise" as end:
            reads(end)
        case "never receives":
            spawn(child, "return", 200).block()
            time.sleep(0.5)
        case "never receives what fits":
            pid = spawn(child, "return", 20).block()
            try:
                Receiver(pid, name="other").recv().block()
            except ProcessExited as error:
                print(error.status.code)
        case "dead":
            spawn(child, "return", 200).block()
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGKILL)
        case "stopped":
            spawn(child, "return", 20).block()
            os.kill(os.getpid(), signal.SIGSTOP)

main()
"""


@pytest.mark.parametrize(("end", "code"), [("return", 0), ("exit", 3), ("raise", 1)])
def test_all_arrives_from_a_process_that_ends(tmp_path: Path, end: str, code: int) -> None:
    tree = programs.run(programs.write(tmp_path, LEAVING), end).tree
    lines = tree.out.decode().splitlines()
    # One that fails does not close its channel.
    assert lines == (["1", "True"] if end == "raise" else ["True"])
    (child,) = tree.children
    assert child.end == code
    assert child.out == b"sent\n"
    assert (b"ValueError: at the end" in child.err) == (end == "raise")


def test_a_parent_that_never_receives_ends_the_sends_with_its_own_end(tmp_path: Path) -> None:
    tree = programs.run(programs.write(tmp_path, LEAVING), "never receives").tree
    (child,) = tree.children
    assert tree.end == 0
    assert child.end == 1
    assert b"ProcessExited" in child.err
    assert child.out == b""


def test_what_fits_into_the_window_waits_for_no_receiver(tmp_path: Path) -> None:
    tree = programs.run(programs.write(tmp_path, LEAVING), "never receives what fits").tree
    (child,) = tree.children
    assert (child.end, child.out, child.err) == (0, b"sent\n", b"")
    assert tree.out == b"0\n"


def test_a_dead_parent_ends_the_sends(tmp_path: Path) -> None:
    tree = programs.run(programs.write(tmp_path, LEAVING), "dead").tree
    (child,) = tree.children
    assert tree.end == "SIGKILL"
    assert child.end == 1
    assert b"ProcessExited" in child.err
    assert b"has exited: SIGKILL" in child.err


def test_a_stopped_parent_is_waited_for_as_long_as_linger_says(tmp_path: Path) -> None:
    with programs.start(programs.write(tmp_path, LEAVING), "stopped", "1") as command:
        # It ends, though nobody reads.
        command.until(lambda: any(event["event"] == "exit" for event in command.events))
        (child,) = command.tree.children
        assert child.end == 0
        assert b"values sent to process" in child.err
        assert b"did not acknowledge in time" in child.err
        command.until(lambda: command.processes)
        os.kill(command.processes[0], signal.SIGCONT)
        assert command.wait() == 0


PEERS = """
import os, signal, sys, threading, time
from constellation import *

BLOCK = bytes(500_000)

def child(parent, connects):
    if connects:
        Sender(parent, name="first").send("hello").block()
    Sender(parent, name="number").send(os.getpid()).block()
    assert Receiver(parent, name="done").recv().block() == "go on"
    Sender(parent).send("alive").block()
    for _ in Receiver(parent):
        pass

def main():
    init()
    how, connects, doing = sys.argv[1:]
    pid = spawn(child, connects == "child").block()
    if connects == "parent":
        Sender(pid, name="first").send("hello").block()
    number = Receiver(pid, name="number").recv().block()
    sender, receiver = Sender(pid), Receiver(pid)
    seen = []

    def act():
        try:
            if doing == "recv":
                seen.append(receiver.recv().block())
            elif doing == "send":
                sender.send_many([BLOCK] * 20).block()
                seen.append("alive")
            else:
                time.sleep(0.5)
                seen.append(receiver.recv().block())
        except ProcessExited as error:
            seen.append(str(error.status))

    thread = threading.Thread(target=act)
    thread.start()
    time.sleep(0.3)
    if how == "kill":
        os.kill(number, signal.SIGKILL)
        thread.join()
    else:
        os.kill(number, signal.SIGSTOP)
        thread.join(0.6)
        assert thread.is_alive()
        os.kill(number, signal.SIGCONT)
        Sender(pid, name="done").send("go on").block()
        thread.join()
    sender.close()
    print(*seen)

main()
"""


@pytest.mark.parametrize("doing", ["recv", "send", "idle"])
@pytest.mark.parametrize("connects", ["parent", "child", "neither"])
def test_a_killed_peer(tmp_path: Path, doing: str, connects: str) -> None:
    path = programs.write(tmp_path, PEERS)
    assert programs.run(path, "kill", connects, doing).tree.out == b"SIGKILL\n"


@pytest.mark.parametrize("doing", ["recv", "send", "idle"])
def test_a_stopped_peer_is_not_dead(tmp_path: Path, doing: str) -> None:
    path = programs.write(tmp_path, PEERS)
    tree = programs.run(path, "stop", "child", doing).tree
    assert tree.out == b"alive\n", tree.err.decode()
    assert tree.children[0].end == 0


SLOW = """
import resource, sys, time
import psutil
from constellation import *

MIB = 1 << 20

def rss():
    return psutil.Process().memory_info().rss

def reader(parent, count):
    slow, busy = Receiver(parent), Receiver(parent, name="busy")
    answers = Sender(parent, name="answers")
    before = peak = rss()
    for number, value in enumerate(slow):
        peak = max(peak, rss())
        for _ in range(20):
            answers.send(busy.recv().block()).block()
        assert len(value) == MIB
        if number + 1 == count:
            break
    Sender(parent, name="peak").send(peak - before).block()

def main():
    init()
    count = 40
    child = spawn(reader, count).block()
    sender, busy = Sender(child), Sender(child, name="busy")
    answers = Receiver(child, name="answers")
    value = bytes(MIB)
    before = peak = rss()
    sent = refused = 0
    for number in range(20 * count):
        try:
            while sent < 400:
                sender.try_send(value)
                sent += 1
        except WouldBlock:
            refused += 1
        peak = max(peak, rss())
        # The other channel goes on, whatever waits in this one.
        busy.send(number).block()
        assert answers.recv().block() == number
    other = Receiver(child, name="peak").recv().block()
    print(refused > 0, sent <= count + 10, (peak - before) // MIB, other // MIB)

main()
"""


def test_more_than_the_window_for_a_slow_reader(tmp_path: Path) -> None:
    out = programs.run(programs.write(tmp_path, SLOW)).tree.out.split()
    assert out[:2] == [b"True", b"True"]
    assert int(out[2]) < 40
    assert int(out[3]) < 40


LARGE = """
import hashlib, sys, threading, time
from constellation import *

def child(parent):
    def pong():
        with Sender(parent, name="ping") as answers:
            for value in Receiver(parent, name="ping"):
                answers.send(value).block()
    thread = threading.Thread(target=pong)
    thread.start()
    received = Receiver(parent)
    assert received.recv().block() == b""
    value = received.recv().block()
    assert received.recv().block() == b""
    Sender(parent).send((len(value), hashlib.sha256(value).hexdigest())).block()
    thread.join()

def main():
    init()
    size = int(float(sys.argv[1]) * (1 << 20))
    value = bytes(range(256)) * (size // 256)
    pid = spawn(child).block()
    sender = Sender(pid, codec=sys.argv[2])
    ping, pong = Sender(pid, name="ping"), Receiver(pid, name="ping")
    ping.send(0).block()
    pong.recv().block()
    done = threading.Event()
    def send():
        sender.send(b"").block()
        sender.send(value).block()
        sender.send(b"").block()
        done.set()
    thread = threading.Thread(target=send)
    thread.start()
    count, longest = 0, 0.0
    while not done.is_set():
        start = time.monotonic()
        ping.send(count).block()
        assert pong.recv().block() == count
        longest = max(longest, time.monotonic() - start)
        count += 1
        time.sleep(0.002)
    thread.join()
    ping.close()
    length, digest = Receiver(pid).recv().block()
    assert length == len(value)
    assert digest == hashlib.sha256(value).hexdigest()
    print(count, f"{longest * 1000:.0f}")

main()
"""


@pytest.mark.parametrize(("mib", "codec"), [("300", "pickle"), ("50", "raw")])
def test_a_large_value_and_a_ping_beside_it(tmp_path: Path, mib: str, codec: str) -> None:
    tree = programs.run(programs.write(tmp_path, LARGE), mib, codec).tree
    assert tree.err == b""
    assert tree.end == 0
    assert tree.children[0].end == 0


MANY_PEERS = """
import os, sys
from constellation import *

def child(parent):
    Sender(parent).send(Receiver(parent).recv().block()).block()

def descriptors():
    return len(os.listdir("/proc/self/fd"))

def main():
    init()
    before = descriptors()
    pids = [spawn(child).block() for _ in range(120)]
    senders = [Sender(pid) for pid in pids]
    receivers = [Receiver(pid) for pid in pids]
    for number, sender in enumerate(senders):
        sender.send(number).block()
    assert [receiver.recv().block() for receiver in receivers] == [*range(120)]
    print(descriptors() - before <= 130)

main()
"""


def test_at_most_one_descriptor_a_peer(tmp_path: Path) -> None:
    tree = programs.run(programs.write(tmp_path, MANY_PEERS)).tree
    assert tree.out == b"True\n", tree.err.decode()


CYCLES = """
import gc, os, sys
import psutil
from constellation import *

def child(parent, count):
    for number in range(count):
        with Receiver[int](parent) as receiver:
            assert receiver.recv().block() == number
        if number % 100 == 0:
            with Sender[int](parent) as sender:
                sender.send(number).block()

def state():
    gc.collect()
    process = psutil.Process()
    return process.num_fds(), process.memory_info().rss

def main():
    init()
    count = int(sys.argv[1])
    pid = spawn(child, count).block()
    for number in range(count):
        if number == count // 4:
            before = state()
        with Sender[int](pid) as sender:
            sender.send(number).block()
        if number % 100 == 0:
            with Receiver[int](pid) as receiver:
                assert receiver.recv().block() == number
    after = state()
    print(after[0] <= before[0] + 2, (after[1] - before[1]) // 1024)

main()
"""


def test_opening_and_closing_again_and_again_grows_nothing(tmp_path: Path) -> None:
    tree = programs.run(programs.write(tmp_path, CYCLES), "8000").tree
    assert tree.err == b""
    flat, grown = tree.out.split()
    assert flat == b"True"
    assert int(grown) < 2048  # KiB, for 6000 cycles
    assert tree.children[0].end == 0
