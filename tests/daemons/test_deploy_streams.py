"""Input and output of deployed programs: complete, in order, and no more than there is room for."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import programs
import psutil
import pytest
from local_bridge import LocalBridge

ECHO = """
import sys
from constellation import init
init()
while data := sys.stdin.buffer.read1(1 << 16):
    sys.stdout.buffer.write(data)
"""

WRITER = """
import hashlib, os, random, sys
from constellation import init
init()
out, err = (random.Random(seed).randbytes(size) for seed, size in ((1, 10_000_000), (2, 1_000_000)))
for n in range(0, 10_000_000, 100_000):
    sys.stdout.buffer.write(out[n : n + 100_000])
    sys.stderr.buffer.write(err[n // 10 : n // 10 + 10_000])
"""


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# -- input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 100_000, 3_000_000])
def test_input_arrives_with_its_end(bridge: LocalBridge, tmp_path: Path, size: int) -> None:
    path = programs.write(tmp_path, ECHO)
    data = random.Random(size).randbytes(size)
    done = bridge.run(path, stdin=data)
    assert done.code == 0, done.out[-2000:]
    assert digest(done.tree.out) == digest(data)


def test_input_from_a_file_and_from_nowhere(bridge: LocalBridge, tmp_path: Path) -> None:
    path = programs.write(tmp_path, ECHO)
    (tmp_path / "input").write_bytes(b"from a file\n")
    with open(tmp_path / "input") as file:
        assert bridge.run(path, stdin=file.fileno()).tree.out == b"from a file\n"
    shell = subprocess.run(
        ["sh", "-c", '"$@" <&-', "sh", *bridge.command(path)],
        env=programs.environment(CONSTELLATION_FORMAT="json"),
        capture_output=True,
        timeout=programs.LIMIT,
        check=False,
    )
    assert shell.returncode == 0, (shell.stdout, shell.stderr)
    assert programs.Finished(0, shell.stdout, shell.stderr).tree.out == b""


def test_input_is_read_no_faster_than_it_is_taken(bridge: LocalBridge, tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        import sys, time
        from constellation import init
        init()
        print("running", flush=True)
        time.sleep(60)
        """,
    )
    read, write = os.pipe()
    os.set_blocking(write, False)
    with bridge.start(path, stdin=read) as command:
        os.close(read)
        command.until(lambda: b"running" in command.output())
        written, until = 0, time.monotonic() + 2
        while time.monotonic() < until:
            try:
                written += os.write(write, bytes(1 << 16))
            except BlockingIOError:
                command.for_a_while(0.05)
        assert written < 1 << 20
        command.signal(signal.SIGINT)
        assert command.wait() == 130
    os.close(write)


def test_input_that_nobody_reads_holds_up_nothing(bridge: LocalBridge, tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        import os, time
        from constellation import init
        init()
        os.close(0)
        time.sleep(1)
        print("done")
        """,
    )
    done = bridge.run(path, stdin=bytes(5_000_000))
    assert done.code == 0
    assert done.tree.out == b"done\n"


def test_a_dialogue(bridge: LocalBridge, tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        from constellation import init
        init()
        print("name?", flush=True)
        name = input()
        print("hello", name, flush=True)
        print(repr(input()))
        """,
    )
    read, write = os.pipe()
    with bridge.start(path, stdin=read) as command:
        os.close(read)
        command.until(lambda: b"name?" in command.output())
        os.write(write, b"Ada\n")
        command.until(lambda: b"hello Ada" in command.output())
        os.close(write)
        assert command.wait() == 1
    assert b"EOFError" in command.tree.err


# -- output ---------------------------------------------------------------------------------------


def test_output_is_exact(bridge: LocalBridge, tmp_path: Path) -> None:
    path = programs.write(tmp_path, WRITER)
    done = bridge.run(path)
    assert done.code == 0
    out, err = (random.Random(seed).randbytes(size) for seed, size in ((1, 10**7), (2, 10**6)))
    assert digest(done.tree.out) == digest(out)
    assert digest(done.tree.err) == digest(err)


def test_output_to_files_is_just_what_was_printed(bridge: LocalBridge, tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        import sys
        from constellation import init
        init()
        sys.stdout.buffer.write(bytes(range(256)) * 1000)
        """,
    )
    done = bridge.run(path, form="human")
    assert done.out == bytes(range(256)) * 1000


def test_a_stopped_reader_stops_the_program_and_fills_no_memory(
    bridge: LocalBridge, tmp_path: Path
) -> None:
    count = tmp_path / "count"
    path = programs.write(
        tmp_path,
        """
        import os, sys
        from constellation import init
        init()
        line = b"x" * 999 + b"\\n"
        with open(sys.argv[1], "r+b", buffering=0) as count:
            for n in range(1, 1_000_000):
                os.write(1, line)
                count.seek(0)
                count.write(b"%d" % n)
        """,
    )
    count.write_bytes(b"0")
    service = psutil.Process(bridge.process.pid)
    before = service.memory_info().rss
    with bridge.start(path, count) as command:
        last, still = b"0", 0
        until = time.monotonic() + 30
        # Nothing is read of what the client writes.
        while still < 20 and time.monotonic() < until:
            time.sleep(0.1)
            now = count.read_bytes()
            still = still + 1 if now == last and now != b"0" else 0
            last = now
        assert still >= 20, "it never waits"
        assert int(last) < 20_000  # of kilobytes
        assert service.memory_info().rss - before < 40 << 20
        command.for_a_while(0.5)
        command.until(lambda: int(count.read_bytes()) > int(last) + 1000)
        command.signal(signal.SIGINT)
        assert command.wait() == 130


def test_a_stopped_reader_does_not_hold_up_the_end(bridge: LocalBridge, tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        import os
        from constellation import init
        init()
        while True:
            os.write(1, b"x" * 1000)
        """,
    )
    with bridge.start(path) as command:
        time.sleep(3)
        command.signal(signal.SIGINT)
        time.sleep(0.2)
        command.signal(signal.SIGINT)
        assert command.process.wait(20) == 130


def test_a_reader_that_leaves_ends_the_writer(bridge: LocalBridge, tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        import sys
        from constellation import init
        init()
        n = 0
        while True:
            print(n)
            n += 1
        """,
    )
    start = time.monotonic()
    done = subprocess.run(
        ["bash", "-c", '"$@" | head -1; exit ${PIPESTATUS[0]}', "bash", *bridge.command(path)],
        env=programs.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=programs.LIMIT,
        check=False,
    )
    assert done.stdout == b"0\n"
    assert done.returncode in (1, 120)  # as CPython has it: the flush at its exit fails too
    assert b"BrokenPipeError" in done.stderr
    assert time.monotonic() - start < 30


# -- several at once ------------------------------------------------------------------------------


def test_two_deployments_never_mix(bridge: LocalBridge, tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        import sys
        from constellation import *
        def child(parent, tag):
            for n in range(500):
                print(tag, n, flush=n % 7 == 0)
                print(tag, n, file=sys.stderr, flush=True)
        init()
        for _ in range(3):
            spawn(child, sys.argv[1]).block()
        child(None, sys.argv[1])
        """,
    )
    with bridge.start(path, "one") as first, bridge.start(path, "two") as second:
        first.wait()
        second.wait()
        for command, tag in ((first, b"one"), (second, b"two")):
            assert command.process.returncode == 0
            expected = b"".join(b"%s %d\n" % (tag, n) for n in range(500))
            nodes = list(command.tree.all())
            assert len(nodes) == 4
            for node in nodes:
                assert node.out == node.err == expected
