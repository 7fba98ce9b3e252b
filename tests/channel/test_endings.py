"""What the end of a process does to the channels that it left open."""

from __future__ import annotations

from pathlib import Path

import programs
import pytest

SENDERS = """
    import os, sys
    from constellation import ProcessExited, Receiver, Sender, init, pid, spawn

    def sender(parent, end):
        kept = Sender[int](parent)
        for number in range(3):
            kept.send(number).block()
        Sender[int](parent, name="dropped").send(3).block()
        with Sender[int](parent, name="closed") as closed:
            closed.send(4).block()
        end()

    def leave():
        sys.exit(3)

    def fail():
        raise ValueError("half way")

    def interrupt():
        raise KeyboardInterrupt

    def read(remote, name=""):
        values = []
        try:
            for value in Receiver[int](remote, name=name):
                values.append(value)
        except ProcessExited as error:
            return values, str(error.status)
        return values, "closed"
"""


def written(tmp_path: Path, main: str) -> Path:
    return programs.write(tmp_path, SENDERS + main)


@pytest.mark.parametrize(
    ("end", "seen"),
    [("int", "closed"), ("leave", "closed"), ("fail", "1"), ("interrupt", "SIGINT")],
)
def test_only_a_process_that_fails_leaves_its_channels_open(
    tmp_path: Path, end: str, seen: str
) -> None:
    path = written(
        tmp_path,
        f"""
    init()
    child = spawn(sender, {end}).block()
    print(read(child), read(child, "dropped"), read(child, "closed"))
        """,
    )
    expected = f"([0, 1, 2], {seen!r}) ([3], 'closed') ([4], 'closed')\n"
    assert programs.run(path).tree.out.decode() == expected


@pytest.mark.parametrize(("end", "seen"), [("int", "closed"), ("leave", "closed"), ("fail", "1")])
def test_so_does_the_initial_process(tmp_path: Path, end: str, seen: str) -> None:
    path = written(
        tmp_path,
        f"""
    def reader(parent):
        Sender(parent, name="ready").send(True).block()
        print(read(parent))

    init()
    child = spawn(reader).block()
    Receiver(child, name="ready").recv().block()
    kept = Sender[int](child)
    kept.send(1).block()
    {end}()
        """,
    )
    (child,) = programs.run(path).tree.children
    assert child.out.decode() == f"([1], {seen!r})\n"


def test_a_failed_process_still_delivers_what_it_sent(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
    def many(parent):
        sender = Sender(parent)
        for _ in range(200):
            sender.send(bytes(100_000)).block()
        fail()

    init()
    child = spawn(many).block()
    values, end = read(child)
    print(len(values), end)
        """,
    )
    assert programs.run(path).tree.out == b"200 1\n"


@pytest.mark.parametrize(("end", "seen"), [("int", "b''"), ("fail", "1")])
def test_a_file_ends_in_order_only_if_its_process_does(tmp_path: Path, end: str, seen: str) -> None:
    path = written(
        tmp_path,
        f"""
    def writer(parent):
        file = Sender(parent).makefile()
        file.write(b"text")
        {end}()

    init()
    file = Receiver(spawn(writer).block()).makefile()
    print(file.read1())
    try:
        print(file.read1())
    except ProcessExited as error:
        print(error.status)
        """,
    )
    assert programs.run(path).tree.out.decode() == f"b'text'\n{seen}\n"
