"""How a process leaves while something of it, or of another one, still goes on."""

from __future__ import annotations

from pathlib import Path

import programs
import pytest


@pytest.mark.parametrize(
    "waits",
    ["receiver.recv().block()", "receiver.recv().block(timeout=30)", "asyncio.run(awaiting())"],
)
def test_daemon_threads_stay_where_they_wait(tmp_path: Path, waits: str) -> None:
    path = programs.write(
        tmp_path,
        f"""
        import asyncio, threading, time
        from constellation import ProcessExited, Receiver, init, spawn

        def child(parent):
            try:
                Receiver(parent).recv().block()
            except ProcessExited:
                pass

        async def awaiting():
            waiting.set()
            await receiver.recv()

        def wait():
            waiting.set()
            {waits}

        init()
        pid = spawn(child).block()
        receiver = Receiver(pid)
        waiting = threading.Event()
        for _ in range(3):
            threading.Thread(target=wait, daemon=True).start()
        waiting.wait()
        time.sleep(0.05)
        """,
    )
    for node in programs.run(path).tree.all():
        assert (node.end, node.out, node.err) == (0, b"", b"")


def test_daemon_threads_that_send_stop_in_silence(tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        import threading, time
        from constellation import Receiver, Sender, init, spawn

        def child(parent):
            for value in Receiver(parent):
                pass

        def send():
            while True:
                sender.send(bytes(1000)).block()

        init()
        pid = spawn(child).block()
        sender = Sender(pid)
        for _ in range(2):
            threading.Thread(target=send, daemon=True).start()
        time.sleep(0.2)
        """,
    )
    done = programs.run(path)
    assert done.tree.end == 0
    assert done.tree.err == b""


def test_a_child_that_is_stopped_holds_up_nobody_who_sent_it_nothing(tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        import os, signal
        from constellation import init, spawn

        def child(parent):
            os.kill(os.getpid(), signal.SIGSTOP)

        init()
        spawn(child).block()
        """,
    )
    with programs.start(path) as command:
        command.until(lambda: any(event["event"] == "exit" for event in command.events))
        assert command.tree.end == 0


def test_what_is_used_after_the_end_says_so(tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        import atexit
        from constellation import Receiver, Sender, init, spawn

        def child(parent):
            for value in Receiver(parent):
                pass

        def late():
            receiver.close()
            sender.close()
            for use in (
                lambda: sender.send(1).block(),
                lambda: receiver.recv().block(),
                lambda: Receiver(pid, name="x"),
                lambda: spawn(child).block(),
            ):
                try:
                    use()
                except Exception as error:
                    print(error)

        atexit.register(late)  # before init(), so it runs after the end of the channels
        init()
        pid = spawn(child).block()
        sender, receiver = Sender(pid), Receiver(pid)
        """,
    )
    tree = programs.run(path).tree
    assert (tree.end, tree.err) == (0, b"")
    first, *others = tree.out.decode().splitlines()
    assert first.startswith("send() to ")
    assert first.endswith(": the Sender is closed")
    assert others == ["this process is leaving: its channels are closed"] * 3
