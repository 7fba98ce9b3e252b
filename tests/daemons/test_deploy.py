"""Programs that are deployed: the command, the bridge and an agent, from end to end."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import local_bridge
import programs
import pytest
from local_bridge import LocalBridge
from tcp_proxy import TcpProxy

HELLO = """
import sys
from constellation import *

def child(parent, n):
    print("child", n)
    Sender(parent).send(n * n).block()

def main():
    init()
    print("hello", sys.argv[1:])
    children = [spawn(child, n).block() for n in range(3)]
    print([Receiver(pid).recv().block() for pid in children])
    print("to stderr", file=sys.stderr)

main()
"""


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    return programs.write(tmp_path, HELLO)


def test_a_program_and_its_processes_in_json(bridge: LocalBridge, hello: Path) -> None:
    done = bridge.run(hello, "a", "--b", "")
    assert done.code == 0, done.err
    assert done.tree.out == b"hello ['a', '--b', '']\n[0, 1, 4]\n"
    assert done.tree.err == b"to stderr\n"
    assert [child.out for child in done.tree.children] == [b"child %d\n" % n for n in range(3)]
    assert [node.end for node in done.tree.all()] == [0] * 4


def test_a_program_in_human_form(bridge: LocalBridge, hello: Path) -> None:
    done = bridge.run(hello, form="human")
    assert done.code == 0
    assert done.out.startswith(b"hello []\n")
    assert sorted(done.out.splitlines()) == sorted(
        [b"hello []", b"[0, 1, 4]", b"child 0", b"child 1", b"child 2"]
    )
    assert re.search(rb"spawned: [0-9a-f]{7}", done.err)
    assert done.err.count(b"exited: 0") == 4


# -- what a program is given ----------------------------------------------------------------------

SHOW = """
import os, sys
from constellation import init
init()
for name in sys.argv[1:]:
    print(name, repr(os.environ.get(name)))
"""


def shown(done: programs.Finished) -> dict[str, str]:
    assert done.code == 0, done.out
    lines = done.tree.out.decode().splitlines()
    return dict(line.split(" ", 1) for line in lines)


def test_the_environment_is_the_deployers_less_what_belongs_to_its_machine(
    bridge: LocalBridge, tmp_path: Path
) -> None:
    path = programs.write(tmp_path, SHOW)
    names = ("MINE", "HOME", "LANG", "XDG_MINE", "CONSTELLATION")
    done = bridge.run(path, *names, MINE="1 = ü", XDG_MINE="x", LANG="C.UTF-8", HOME="/elsewhere")
    assert shown(done) == {
        "MINE": "'1 = ü'",
        "HOME": repr(os.environ["HOME"]),
        "LANG": "'C.UTF-8'",
        "XDG_MINE": "None",
        "CONSTELLATION": "'fabric'",
    }


def test_variables_can_be_added_and_left_out(bridge: LocalBridge, tmp_path: Path) -> None:
    path = programs.write(tmp_path, SHOW)
    options = ("--no-env", "--env", "HOME=/mine=1", "--env", "SENT", "--env", "EMPTY=")
    done = bridge.run(*options, path, "HOME", "SENT", "EMPTY", "KEPT", SENT="2", KEPT="3")
    assert shown(done) == {
        "HOME": "'/mine=1'",
        "SENT": "'2'",
        "EMPTY": "''",
        "KEPT": "None",
    }


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--env", "=x"], "--env =x: expected NAME or NAME=VALUE"),
        (["--env", "NOT_THERE"], "--env NOT_THERE: there is no such variable here"),
        (["--mem", "much"], "--mem"),
        (["--cpu", "-1"], "--cpu"),
    ],
)
def test_what_is_typed_wrong_is_told(
    bridge: LocalBridge, hello: Path, arguments: list[str], told: str
) -> None:
    done = bridge.run(*arguments, hello, form="human")
    assert done.code == 2
    assert told in done.err.decode()
    assert "Traceback" not in done.err.decode()


def test_a_module_of_the_working_directory(bridge: LocalBridge, tmp_path: Path) -> None:
    package = tmp_path / "tool"
    package.mkdir()
    programs.write(package, "NAME = 'helper'\n", "helper.py")
    programs.write(package, "", "__init__.py")
    programs.write(
        package,
        """
        import sys
        from constellation import init, spawn
        from . import helper
        def child(parent):
            from . import late
            print(late.NAME, __name__)
        if __name__ == "__main__":
            init()
            print(helper.NAME, sys.argv[1:])
            spawn(child).block()
        """,
        "__main__.py",
    )
    programs.write(package, "NAME = 'late'\n", "late.py")
    done = bridge.run("-m", "tool", "x", cwd=tmp_path)
    assert done.code == 0, done.out
    assert done.tree.out == b"helper ['x']\n"
    assert done.tree.children[0].out == b"late __main__\n"


def test_modules_next_to_the_program_are_found_when_they_are_needed(
    bridge: LocalBridge, tmp_path: Path
) -> None:
    programs.write(tmp_path, "def help():\n    return 'helped'\n", "helpers.py")
    (tmp_path / "pkg" / "sub").mkdir(parents=True)
    programs.write(tmp_path / "pkg" / "sub", "WHERE = __file__\n", "mod.py")
    (tmp_path / "data.txt").write_text("data")
    path = programs.write(
        tmp_path,
        """
        import os, sys
        from constellation import *
        def child(parent):
            import helpers, pkg.sub.mod
            here = os.path.dirname(os.path.abspath(__file__))
            assert pkg.sub.mod.WHERE.startswith(here), (pkg.sub.mod.WHERE, here)
            assert sys.path[0] == here == os.getcwd(), (sys.path, here, os.getcwd())
            print(helpers.help(), open("data.txt").read())
            import not_there
        init()
        spawn(child).block()
        """,
    )
    done = bridge.run(path)
    (child,) = done.tree.children
    assert child.out == b"helped data\n"
    assert b"ModuleNotFoundError: No module named 'not_there'" in child.err
    told = child.err.decode().splitlines()[-1]
    assert told.startswith(
        "constellation: there is no module 'not_there' on 127.0.0.1, which has looked in /"
    )
    assert told.endswith(f": install it there for {sys.executable}, or deploy it with the program")
    assert child.end == 1


def test_closures_and_large_values(bridge: LocalBridge, tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        from constellation import *
        init()
        def make(size):
            blob = bytes(range(256)) * (size // 256)
            def child(parent):
                Sender(parent).send((blob, len(blob))).block()
            return blob, child
        blob, child = make(8 << 20)
        back, size = Receiver(spawn(child).block()).recv().block()
        print(back == blob, size)
        print(Receiver(spawn(lambda parent: Sender(parent).send(blob[:5]).block()).block())
            .recv().block())
        """,
    )
    done = bridge.run(path)
    assert done.code == 0, done.out
    assert done.tree.out == b"True 8388608\nb'\\x00\\x01\\x02\\x03\\x04'\n"


def test_no_survey_is_needed_where_the_needs_are_given(bridge: LocalBridge, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    path = programs.write(
        tmp_path,
        """
        import sys
        open(sys.argv[1], "a").write("run\\n")
        from constellation import init, resources
        init()
        print(resources())
        """,
    )
    done = bridge.run("--mem", "20 MiB", "--cpu", "0.5", path, runs)
    assert done.code == 0, done.out
    assert b"20 MiB" in done.tree.out
    assert runs.read_text() == "run\n"
    assert bridge.run(path, runs).code == 0
    assert runs.read_text() == "run\n" * 3


def test_the_program_says_what_it_needs(bridge: LocalBridge, tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        from constellation import *
        init(Resources(mem="30 MiB", cpu=0.25))
        print(resources() == Resources(mem="30 MiB", cpu=0.25))
        """,
    )
    assert bridge.run(path).tree.out == b"True\n"
    assert bridge.run("--mem", "40 MiB", path).tree.out == b"False\n"


# -- programs that do not come to init() ----------------------------------------------------------

WITHOUT_SURVEY = ("--mem", "1 MiB", "--cpu", "0.01")


@pytest.mark.parametrize("options", [(), WITHOUT_SURVEY], ids=["survey", "image"])
@pytest.mark.parametrize(
    ("source", "code", "out", "err"),
    [
        ("print('before')\nraise ValueError('boom')", 1, "before\n", "ValueError: boom"),
        ("import sys\nprint('bye')\nsys.exit(3)", 3, "bye\n", "before it called init(): 3"),
        ("print('I never do')", 1, "I never do\n", "before it called init()"),
        ("import os\nos.kill(os.getpid(), 9)", 137, "", "SIGKILL"),
        ("import os, signal\nos.kill(os.getpid(), 15)", 143, "", "SIGTERM"),
    ],
)
def test_a_program_that_ends_before_init(
    bridge: LocalBridge,
    tmp_path: Path,
    options: tuple[str, ...],
    source: str,
    code: int,
    out: str,
    err: str,
) -> None:
    path = programs.write(tmp_path, source)
    done = bridge.run(*options, path, form="human")
    assert done.out.decode() == out
    assert err in done.err.decode()
    assert done.err.decode().count("Traceback") == source.count("raise")
    assert done.code == code


def test_in_json_the_traceback_is_in_an_error_event(bridge: LocalBridge, tmp_path: Path) -> None:
    path = programs.write(tmp_path, "print('before')\nraise ValueError('boom')")
    done = bridge.run(path)
    assert done.err == b""
    (event,) = done.events
    assert event["event"] == "error"
    assert "before it called init()" in event["message"]
    assert event["out"] == "before\n"
    assert event["err"].endswith("ValueError: boom\n")
    assert done.code == 1


def test_a_program_that_hangs_before_init(tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        import subprocess, time
        print("waiting", flush=True)
        subprocess.run(["sleep", "1000"])
        """,
    )
    directory = tmp_path / "bridge"
    directory.mkdir()
    with local_bridge.bridge(directory, recce=1.0) as bridge:
        done = bridge.run(path, form="human")
        sooner = bridge.run("--recce", "0.5", path, form="human")
        bridge.settle()
    cure = b"move what takes long after init(), or give --recce more seconds, or --mem and --cpu"
    for each, limit in ((done, b"1 s: "), (sooner, b"0.5 s: ")):
        assert each.code == 1
        assert each.out == b"waiting\n"
        assert b"has not called init() within " + limit + cure in each.err


def test_a_program_that_is_given_more_time_to_come_to_init(tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        import time
        from constellation import init
        time.sleep(1.5)
        init()
        print("here")
        """,
    )
    directory = tmp_path / "bridge"
    directory.mkdir()
    with local_bridge.bridge(directory, recce=1.0) as bridge:
        done = bridge.run("--recce", "60", path)
        bridge.settle()
    assert (done.code, done.tree.out) == (0, b"here\n")


def test_a_program_that_is_slow_before_init(bridge: LocalBridge, tmp_path: Path) -> None:
    go = tmp_path / "go"
    path = programs.write(
        tmp_path,
        f"""
        import os, time
        while not os.path.exists({str(go)!r}):
            time.sleep(0.05)
        from constellation import init
        init()
        """,
    )
    with bridge.start(*WITHOUT_SURVEY, path, form="human") as command:
        note = b"constellation: waits for the program's init() on node local\n"
        command.until(lambda: note in command.err)
        go.touch()
        assert command.wait() == 0
    assert command.err.count(note) == 1


def test_what_is_printed_before_init_is_never_shown(bridge: LocalBridge, tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        import sys
        print("early")
        print("early too", file=sys.stderr)
        from constellation import *
        init()
        print("late")
        """,
    )
    done = bridge.run(path)
    assert done.tree.out == b"late\n"
    assert done.tree.err == b""


def test_a_bad_option_of_the_program_exits_with_its_code(
    bridge: LocalBridge, tmp_path: Path
) -> None:
    path = programs.write(
        tmp_path,
        """
        import argparse
        parser = argparse.ArgumentParser()
        parser.add_argument("--level", type=int, required=True)
        parser.parse_args()
        from constellation import init
        init()
        """,
    )
    done = bridge.run(path, "--levle", form="human")
    assert done.code == 2
    assert b"usage: program.py" in done.err


def test_a_program_that_fails_before_init_is_told_what_was_not_shipped(
    bridge: LocalBridge, tmp_path: Path
) -> None:
    path = programs.write(tmp_path, "open('data.csv')")
    (tmp_path / "data.csv").write_text("")
    (tmp_path / ".gitignore").write_text("*.csv")
    note = b"constellation: not shipped: data.csv, which .gitignore names; --include ships it\n"
    for options in ((), WITHOUT_SURVEY):
        done = bridge.run(*options, path, form="human")
        assert done.code == 1
        assert b"FileNotFoundError" in done.err
        assert done.err.endswith(note)
    path.write_text("from constellation import init\ninit()")
    assert b"not shipped" not in bridge.run(path, form="human").err
    assert b"not shipped: data.csv" in bridge.run("-v", path, form="human").err


# -- its files ------------------------------------------------------------------------------------


def sent(bridge: LocalBridge, program: Path) -> int:
    """Deploy, and give how many bytes that took between the client and the bridge."""
    with TcpProxy(int(bridge.address.rpartition(":")[2])) as proxy:
        behind = LocalBridge(bridge.options, bridge.process, proxy.port)
        done = behind.run(program)
        assert done.code == 0, done.out
        return proxy.passed


@pytest.fixture
def large(tmp_path: Path) -> Path:
    for number in range(4):
        (tmp_path / f"data{number}").write_bytes(os.urandom(200_000))
    return programs.write(tmp_path, "from constellation import init\ninit()\n")


def test_a_second_time_only_what_has_changed_is_sent(bridge: LocalBridge, large: Path) -> None:
    assert sent(bridge, large) > 800_000
    assert sent(bridge, large) < 100_000
    (large.parent / "data2").write_bytes(os.urandom(200_000))
    assert 200_000 < sent(bridge, large) < 300_000


@pytest.mark.parametrize("store", ["bridge", "local"])
def test_what_is_damaged_in_a_store_is_fetched_again(
    bridge: LocalBridge, large: Path, store: str
) -> None:
    sent(bridge, large)
    damaged = 0
    for blob in (bridge.directory / f"store-{store}" / "blobs").glob("*/*"):
        if blob.stat().st_size == 200_000:
            blob.chmod(0o600)
            blob.write_bytes(bytes(200_000))
            damaged += 1
    assert damaged >= 4
    assert bridge.run(large).code == 0


def test_what_a_program_leaves_in_its_directory_goes_with_it(
    bridge: LocalBridge, tmp_path: Path
) -> None:
    path = programs.write(
        tmp_path,
        """
        import os
        from constellation import init
        init()
        os.makedirs("a/b")
        open("a/b/c", "w").close()
        os.chmod("a/b", 0)
        os.chmod("program.py", 0)
        print(os.getcwd())
        """,
    )
    done = bridge.run(path)
    assert done.code == 0
    bridge.settle()
    assert not os.path.exists(done.tree.out.decode().strip())
