"""What a program is told where the system has no more of something."""

from __future__ import annotations

import resource
from pathlib import Path

import programs
import pytest

LIMITED = """
    import resource
    import sys

    limit = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    from constellation import Receiver, Sender, SpawnError, init, spawn

    def child(parent):
        Sender(parent).send(Receiver(parent).recv().block()).block()

    init()
    pids = []
    try:
        while True:
            pids.append(spawn(child).block())
    except SpawnError as error:
        print(error)
    # Those that run are as usable as ever.
    for pid in pids:
        Sender(pid).send(1).block()
    print(sum(Receiver(pid).recv().block() for pid in pids) == len(pids) > 10)
"""


def test_at_the_limit_of_open_files_spawn_says_so(tmp_path: Path) -> None:
    path = programs.write(tmp_path, LIMITED)
    done = programs.run(path, "100")
    assert done.code == 0
    assert done.tree.out.decode().splitlines() == [
        "no process can be made: Too many open files: the limit is 100, `ulimit -n` raises it",
        "True",
    ]


def test_init_refuses_a_limit_that_no_program_can_live_with(tmp_path: Path) -> None:
    done = programs.run(programs.write(tmp_path, LIMITED), "40")
    assert done.code == 1
    assert done.err.decode().splitlines()[-1] == (
        "constellation.errors.InitError: a process may have only 40 open files here, and a program "
        "needs at least 64: `ulimit -n` raises it"
    )


THREADLESS = """
    import _thread
    import os
    import sys

    from constellation import Receiver, SpawnError, init, spawn

    start = _thread.start_new_thread

    def refuse(*arguments):
        # All processes count at one descriptor.
        if os.lseek(counter, 0, os.SEEK_CUR) == int(sys.argv[1]):
            raise RuntimeError("can't start new thread")
        os.write(counter, b"1")
        return start(*arguments)

    counter = os.open("counter", os.O_RDWR | os.O_CREAT)
    _thread.start_new_thread = refuse

    def child(parent):
        pass

    init()
    for _ in range(3):
        try:
            spawn(child).block()
        except SpawnError as error:
            print(error)
    print("the end")
"""
NO_THREAD = (
    "can't start new thread: the user or the control group may not have so many processes and "
    "threads"
)


def test_where_a_new_process_can_have_no_thread_spawn_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = programs.run(programs.write(tmp_path, THREADLESS), "2")
    assert done.code == 0
    assert done.err == b""
    refused = f"cannot start a process: {NO_THREAD}"
    assert done.tree.out.decode().splitlines() == [refused, refused, "the end"]
    assert [child.end for child in done.tree.children] == [0]


def test_where_the_first_process_can_have_no_thread_init_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = programs.run(programs.write(tmp_path, THREADLESS), "0")
    assert done.code == 1
    lines = done.tree.err.decode().splitlines()
    assert lines[-1] == f"constellation.errors.InitError: init() cannot start a thread: {NO_THREAD}"
    assert lines[1].endswith("in <module>")
    assert len(lines) <= 5


def test_where_the_command_can_have_no_thread_it_says_so(tmp_path: Path) -> None:
    program = """
        import threading

        from constellation import init

        def refuse(*arguments):
            raise RuntimeError("can't start new thread")

        threading._start_new_thread = threading._start_joinable_thread = refuse
        init()
    """
    done = programs.run(programs.write(tmp_path, program), form="human")
    assert done.code == 70
    assert done.err.decode() == (
        "constellation: the command can have no thread: the user or the control group may not have "
        "so many processes and threads\n"
    )


@pytest.mark.usefixtures("way")
def test_a_soft_limit_is_raised(tmp_path: Path) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    path = programs.write(
        tmp_path,
        f"""
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (40, {hard}))

        from constellation import init

        init()
        print(resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 40)
        """,
    )
    assert programs.run(path).tree.out == b"True\n"


CUT_OFF = """
    import resource

    from constellation import ChannelError, Receiver, Sender, SpawnError, init, spawn

    def other(parent):
        print(list(Receiver[int](Receiver(parent).recv().block())))

    def child(parent, remote):
        most = resource.getrlimit(resource.RLIMIT_NOFILE)
        sender = Sender[int](remote)
        resource.setrlimit(resource.RLIMIT_NOFILE, (12, most[1]))
        for attempt in (sender.send(1), sender.send_many([1, 2]), sender.send(2)):
            try:
                attempt.block(10)
            except ChannelError as error:
                print(str(error).replace(str(remote), "THERE"))
        try:
            spawn(other).block(10)
        except SpawnError as error:
            print(error)
        if {again}:
            resource.setrlimit(resource.RLIMIT_NOFILE, most)
            sender.send_many([3, 4]).block(10)
            sender.close()

    init()
    there = spawn(other).block()
    here = spawn(child, there).block()
    Sender(there).send(here).block()
"""
NO_CONNECTION = (
    "process THERE cannot be connected to: "
    "Too many open files: the limit is 12, `ulimit -n` raises it"
)
NO_PROCESS = "no process can be made: Too many open files: the limit is 12, `ulimit -n` raises it"


def test_where_no_file_can_be_opened_a_send_says_so_and_sends_nothing(tmp_path: Path) -> None:
    done = programs.run(programs.write(tmp_path, CUT_OFF.format(again=True)))
    assert done.code == 0
    there, here = done.tree.children
    assert here.out.decode().splitlines() == [*[NO_CONNECTION] * 3, NO_PROCESS]
    assert there.out == b"[3, 4]\n"


def test_a_process_that_can_connect_to_nobody_leaves_all_the_same(tmp_path: Path) -> None:
    done = programs.run(programs.write(tmp_path, CUT_OFF.format(again=False)))
    there, here = done.tree.children
    assert here.out.decode().splitlines() == [*[NO_CONNECTION] * 3, NO_PROCESS]
    assert here.status is not None
    assert here.status["code"] == 0
    assert b"has exited: 0" in there.err


BURST = """
    import os
    import resource

    from constellation import ChannelError, Receiver, Sender, init, join, spawn

    OTHERS = 40

    def other(parent):
        hub = Receiver(parent).recv().block()
        try:
            Sender(hub).send(Receiver(hub).recv().block()).block()
        except ChannelError:
            pass  # it was refused
        Receiver(parent).recv().block()

    def hub(parent, others):
        most = resource.getrlimit(resource.RLIMIT_NOFILE)
        Sender(others[0]).send(0).block()
        assert Receiver(others[0]).recv().block() == 0
        senders = [Sender(one) for one in others[1:]]
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + 10, most[1]))
        receivers, refused = [], 0
        for number, sender in enumerate(senders, 1):
            try:
                sender.try_send(number)
            except ChannelError as error:
                assert "ulimit -n" in str(error)
                refused += 1
            else:
                receivers.append(Receiver(sender.remote_pid))
        print(refused > 0)
        print(len(join(*(receiver.recv() for receiver in receivers)).block(60)) == len(receivers))
        resource.setrlimit(resource.RLIMIT_NOFILE, most)
        Sender(parent).send("done").block()

    init()
    others = join(*(spawn(other) for _ in range(OTHERS))).block()
    there = spawn(hub, others).block()
    for one in others:
        Sender(one).send(there).block()
    Receiver(there).recv().block()
    for one in others:
        Sender(one).send("end").block()
"""


def test_what_is_sent_to_many_at_once_is_refused_or_arrives(tmp_path: Path) -> None:
    """libzmq takes descriptors later than it is told to connect, and is silent if it has none."""
    done = programs.run(programs.write(tmp_path, BURST))
    assert done.tree.children[-1].out == b"True\nTrue\n"
    assert done.code == 0
