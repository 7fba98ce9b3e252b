"""What the terminal shows of errors that nobody caught: the user's frames."""

from __future__ import annotations

from pathlib import Path

import programs
import pytest

ENDED = """
    import sys, threading
    from constellation import *

    def child(parent):
        pass

    def ends():
        Receiver(pid).recv().block()

    init()
    pid = spawn(child).block()
"""


def shown(tmp_path: Path, rest: str) -> str:
    done = programs.run(programs.write(tmp_path, ENDED + rest))
    return done.tree.err.decode()


@pytest.mark.parametrize(
    "use",
    ["ends()", "list(Receiver(pid))", "Sender(pid).send(threading.Lock()).block()"],
)
def test_of_errors_of_the_library_only_the_users_frames_are_shown(tmp_path: Path, use: str) -> None:
    err = shown(tmp_path, f"    {use}\n")
    assert "Traceback (most recent call last):\n" in err
    assert "program.py" in err
    assert "constellation/" not in err
    assert err.splitlines()[-1].startswith("constellation.errors.")


def test_in_threads_too(tmp_path: Path) -> None:
    err = shown(
        tmp_path,
        """
    thread = threading.Thread(target=ends)
    thread.start()
    thread.join()
        """,
    )
    assert err.startswith("Exception in thread ")
    assert "in ends" in err
    assert "constellation/" not in err


def test_of_other_errors_everything_is_shown(tmp_path: Path) -> None:
    err = shown(
        tmp_path,
        """
    from constellation.channel.receiver import Receiver

    Receiver.recv = lambda self: self.name.block()
    ends()
        """,
    )
    assert "in ends" in err
    assert err.splitlines()[-1] == "AttributeError: 'str' object has no attribute 'block'"


def test_the_users_own_hooks_stay(tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        import sys

        def hook(kind, error, trace):
            frames = 0
            while trace is not None:
                trace, frames = trace.tb_next, frames + 1
            print("hooked", kind.__name__, frames > 1, file=sys.stderr)

        sys.excepthook = hook
        from constellation import *

        def child(parent):
            pass

        init()
        Receiver(spawn(child).block()).recv().block()
        """,
    )
    assert programs.run(path).tree.err == b"hooked ProcessExited True\n"


def test_who_forgets_the_parent_is_told(tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        from constellation import *

        def work(number):
            pass

        init()
        spawn(work, 1).block()
        """,
    )
    (child,) = programs.run(path).tree.children
    assert child.err.decode().splitlines() == [
        "TypeError: work() takes 1 positional argument but 2 were given",
        (
            "constellation: spawn(work, ...) calls work(parent, ...): "
            "the Pid of the spawner comes first"
        ),
    ]


@pytest.mark.parametrize(("name", "value"), [("mem", '"2 GiB"'), ("cpu", "2")])
def test_who_forgets_resources_is_told(tmp_path: Path, name: str, value: str) -> None:
    path = programs.write(
        tmp_path,
        f"""
        from constellation import *

        def work(parent):
            pass

        init()
        spawn(work, {name}={value}).block()
        """,
    )
    (child,) = programs.run(path).tree.children
    assert child.err.decode().splitlines() == [
        f"TypeError: work() got an unexpected keyword argument '{name}'",
        (
            f"constellation: spawn(work, {name}=...) gives {name} to work: what the process needs "
            f"is resources=Resources({name}=...)"
        ),
    ]


def test_who_calls_the_function_himself_is_told(tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        from constellation import *

        def work(number):
            pass

        init()
        spawn(work(1)).block()
        """,
    )
    assert programs.run(path).tree.err.decode().splitlines()[-1] == (
        "TypeError: spawn() takes something to call, not None: write spawn(work, 1) and not "
        "spawn(work(1)), which calls it here"
    )
