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


TOO_EARLY = """
    import asyncio, subprocess, threading
    from constellation import *

    somebody = Pid.new("tcp://10.0.0.2:40001")

    def work(parent):
        pass

    async def main():
        init()

    def wait():
        threading.Thread(target=threading.Event().wait, daemon=True).start()

    def user():
        {call}

    {before}
    user()
"""


def frames(err: str) -> list[str]:
    """The files that a traceback names, and the last line that it shows."""
    lines = err.splitlines()
    files = [line.split('"')[1] for line in lines if line.startswith("  File ")]
    code = [line.strip() for line in lines if line.startswith("    ") and set(line) - set(" ^~")]
    return [*files, code[-1]]


@pytest.mark.parametrize("start", ["fork", "fresh"])
@pytest.mark.parametrize(
    ("call", "before", "why"),
    [
        ("spawn(work).block()", "", "call constellation.init() first"),
        ("try_spawn(work).block()", "", "call constellation.init() first"),
        ("pid()", "", "call constellation.init() first"),
        ("resources()", "", "call constellation.init() first"),
        ("Sender[int](somebody)", "", "call constellation.init() first"),
        ("Receiver(somebody)", "", "call constellation.init() first"),
        ("init()", "wait()", "no other Python thread may run"),
        ("init()", 'child = subprocess.Popen(["true"])', "there may be no child process"),
    ],
)
def test_what_is_too_early_or_too_late_is_shown_at_the_users_line(
    tmp_path: Path, call: str, before: str, why: str, start: str
) -> None:
    path = programs.write(tmp_path, TOO_EARLY.format(call=call, before=before))
    done = programs.run(path, CONSTELLATION_START=start)
    err = done.err.decode()
    assert done.code == 1
    assert frames(err) == [str(path), str(path), call]
    assert err.splitlines()[-1].startswith("constellation.errors.InitError: ")
    assert why in err


def test_init_in_an_event_loop_is_shown_at_the_users_line(tmp_path: Path) -> None:
    path = programs.write(tmp_path, TOO_EARLY.format(call="asyncio.run(main())", before=""))
    err = programs.run(path).err.decode()
    assert "running event loop" in err
    assert frames(err)[-2:] == [str(path), "init()"]
    assert "constellation/" not in err


def test_what_is_too_early_in_a_thread_is_shown_at_the_users_line(tmp_path: Path) -> None:
    before = "thread = threading.Thread(target=user); thread.start(); thread.join()"
    path = programs.write(tmp_path, TOO_EARLY.format(call="pid()", before=before))
    first, _, rest = programs.run(path).err.decode().partition("InitError")
    assert first.startswith("Exception in thread ")
    assert "in user\n    pid()" in first
    assert "constellation/" not in first + rest


def test_a_hook_of_the_users_is_left_alone_before_init(tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        import sys
        from constellation import *

        sys.excepthook = lambda kind, error, trace: print("hooked", kind.__name__)
        pid()
        """,
    )
    assert programs.run(path).out == b"hooked InitError\n"


def test_what_was_caught_before_init_changes_nothing_after_it(tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        import sys
        from constellation import *

        assert sys.excepthook is sys.__excepthook__, "an import changes nothing"
        try:
            pid()
        except InitError:
            pass
        init()
        init()
        """,
    )
    err = programs.run(path).tree.err.decode()
    assert "called once" in err
    assert frames(err) == [str(path), "init()"]
