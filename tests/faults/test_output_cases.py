"""Whatever processes write, to wherever it goes: files, pipes, terminals, and what nobody reads."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import programs
import pytest

HEAD = """
import os, signal, subprocess, sys, threading, time
from constellation import *
import ctypes

def wait(pid):
    try:
        Receiver(pid).recv().block()
    except ProcessExited as error:
        return error.status
"""
NEEDS_DEV_FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")


def program(directory: Path, source: str) -> Path:
    path = directory / "program.py"
    programs.write(directory, source)
    path.write_text(HEAD + path.read_text())
    return path


def shell(
    command: str, path: Path, *arguments: str, **settings: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a command of the shell, in which `run` is the program."""
    return subprocess.run(
        ["bash", "-c", f'run() {{ "$0" "$@"; }}; {command}', sys.executable, str(path), *arguments],
        env=programs.environment(**{"CONSTELLATION_FORMAT": "human", **settings}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        start_new_session=True,
        timeout=programs.LIMIT,
        check=False,
    )


# -- bytes


def test_every_end_of_a_child_delivers_what_reached_the_pipe(tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        def child(parent, end):
            sys.stdout.buffer.write(bytes(range(256)) * 39062 + bytes(128))
            sys.stderr.buffer.write(b"0123456789" * 100_000)
            sys.stdout.flush()
            sys.stderr.flush()
            if end == "exit":
                sys.exit(3)
            elif end == "os._exit":
                os._exit(3)
            elif end == "kill":
                os.kill(os.getpid(), signal.SIGKILL)

        def main():
            init()
            pids = [spawn(child, end).block() for end in ("return", "exit", "os._exit", "kill")]
            for pid in pids:
                wait(pid)

        if __name__ == "__main__":
            main()
        """,
    )
    tree = programs.run(path).tree
    assert [child.end for child in tree.children] == [0, 3, 3, "SIGKILL"]
    for child in tree.children:
        assert child.out == bytes(range(256)) * 39062 + bytes(128)
        assert child.err == b"0123456789" * 100_000


BYTES = """
def halves(parent):
    for byte in "\\u20ac\\n".encode():
        os.write(1, bytes([byte]))
        time.sleep(0.01)

init()
if "all" in sys.argv:
    os.write(1, bytes(range(256)) + b"\\n")
if "long" in sys.argv:
    sys.stdout.write("x" * 5_000_000)
    sys.stdout.flush()
if "progress" in sys.argv:
    for part in range(3):
        print(f"\\r{part}", end="", flush=True)
    print()
if "halves" in sys.argv:
    pids = [spawn(halves).block() for _ in range(2)]
    for pid in pids:
        wait(pid)
"""
WRITTEN = {
    "all": bytes(range(256)) + b"\n",
    "long": b"x" * 5_000_000,
    "progress": b"\r0\r1\r2\n",
}


@pytest.mark.parametrize("kind", WRITTEN)
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_a_file_holds_the_very_bytes_that_were_written(
    kind: str, locale: str, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    done = shell(f'run "$@" >{file}', program(tmp_path, BYTES), kind, LC_ALL=locale)
    assert file.read_bytes() == WRITTEN[kind]
    assert re.fullmatch(rb"\w{7}:\n    exited: 0\n", done.stderr)
    assert programs.run(tmp_path / "program.py", kind, LC_ALL=locale).tree.out == WRITTEN[kind]


def test_characters_are_not_broken_by_those_of_another_process(tmp_path: Path) -> None:
    path = program(tmp_path, BYTES)
    done = shell('run "$@" 2>&1', path, "halves", LC_ALL="C")
    assert done.stdout.decode().count("€") == 2
    tree = programs.run(path, "halves").tree
    assert [child.out.decode() for child in tree.children] == ["€\n"] * 2
    events = programs.run(path, "halves").events
    assert not [event for event in events if event.get("encoding")]


def test_output_that_goes_around_python_is_output(tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        def child(parent):
            os.write(1, b"raw\\n")
            os.write(2, b"raw error\\n")
            ctypes.CDLL(None).puts(b"from C")
            ctypes.CDLL(None).fflush(None)
            os.system("echo from a shell")
            os.dup2(1, 2)
            print("to both", file=sys.stderr)

        init()
        assert wait(spawn(child).block()).success
        """,
    )
    (child,) = programs.run(path).tree.children
    assert child.out == b"raw\nfrom C\nfrom a shell\nto both\n"
    assert child.err == b"raw error\n"


def test_what_processes_do_to_their_streams_is_their_own_matter(tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        def closed(parent):
            os.close(1)
            print("into nothing")

        def closed_files(parent):
            sys.stdout.close()
            sys.stderr.close()

        def none(parent):
            sys.stdout = sys.stderr = None
            print("into nothing")

        def all_closed(parent):
            os.closerange(0, 3)

        def replaced(parent):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            print("into nothing")

        init()
        for start in (closed, closed_files, none, all_closed, replaced):
            print(wait(spawn(start).block()))
        """,
    )
    tree = programs.run(path).tree
    # 120 is what the interpreter exits with where it could not write out its buffers.
    assert tree.out in (b"1\n0\n0\n0\n0\n", b"120\n0\n0\n0\n0\n")
    assert [child.out for child in tree.children] == [b""] * 5
    assert b"OSError: [Errno 9] Bad file descriptor" in tree.children[0].err
    assert [child.err for child in tree.children[1:]] == [b""] * 4


# -- where it goes


def test_standard_output_holds_just_what_the_processes_printed(tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        def child(parent):
            print("child")
            print("error", file=sys.stderr)

        init()
        wait(spawn(child).block())
        print("parent")
        """,
    )
    done = shell('run "$@"', path)
    assert done.stdout == b"child\nparent\n"
    lines = [line for line in done.stderr.decode().splitlines() if line.startswith(" ")]
    assert sorted(line.split(":")[0].strip() for line in lines) == [
        "error",
        "exited",
        "exited",
        "spawned",
    ]
    both = shell('run "$@" 2>&1', path)
    assert both.stderr == b""
    assert b"    child\n" in both.stdout


MANY = """
def many(parent):
    for line in range(100_000):
        print("line", line)

init()
if "child" in sys.argv:
    assert not wait(spawn(many).block()).success
else:
    many(None)
"""


@pytest.mark.parametrize("who", ["parent", "child"])
def test_a_reader_that_leaves_ends_who_writes(who: str, tmp_path: Path) -> None:
    done = shell('run "$@" | head -1; exit ${PIPESTATUS[0]}', program(tmp_path, MANY), who)
    assert done.stdout == b"line 0\n"
    # 120: also when the rest of the buffer could not be written at the end.
    assert re.search(rb"BrokenPipeError: .*Broken pipe\n    exited: (1|120)\n", done.stderr)
    assert b"constellation/" not in done.stderr
    assert done.stderr.count(b"Exception ignored in") <= 1
    assert done.returncode in ((1, 120) if who == "parent" else (101,))


def test_a_reader_of_the_events_that_leaves_ends_the_program(tmp_path: Path) -> None:
    done = shell(
        'run "$@" | head -1; exit ${PIPESTATUS[0]}',
        program(tmp_path, MANY),
        CONSTELLATION_FORMAT="json",
    )
    assert done.stdout.startswith(b'{"event":"spawn"')
    assert done.returncode in (1, 120)


@NEEDS_DEV_FULL
@pytest.mark.parametrize("source", [MANY, "init()\nprint('little')"], ids=["much", "little"])
def test_a_full_disk_is_an_error(source: str, tmp_path: Path) -> None:
    done = shell('run "$@" >/dev/full', program(tmp_path, source))
    text = b"constellation: the standard output cannot be written: No space left on device\n"
    assert done.stderr.count(text) == 1
    assert done.returncode in ((1, 120) if source is MANY else (74,))


@NEEDS_DEV_FULL
def test_two_full_disks_are_an_error_too(tmp_path: Path) -> None:
    done = shell('run "$@" >/dev/full 2>&1', program(tmp_path, "init()\nprint('little')"))
    assert done.returncode == 74


@pytest.mark.parametrize(
    ("closed", "out"),
    [("<&-", b"raw\npython\n"), (">&-", b""), ("2>&-", b"raw\npython\n"), ("<&- >&- 2>&-", b"")],
)
def test_streams_that_the_shell_closed_are_no_problem(
    closed: str, out: bytes, tmp_path: Path
) -> None:
    path = program(
        tmp_path,
        """
        def child(parent):
            os.write(1, b"raw\\n")
            print("python")
            Sender(parent).send(5).block()

        init()
        pid = spawn(child).block()
        assert Receiver(pid).recv().block() == 5
        assert not sys.stdin or sys.stdin.read() == ""
        """,
    )
    done = shell(f'run "$@" {closed}', path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == out


def test_a_program_reads_its_file_and_leaves_the_rest_to_the_next(tmp_path: Path) -> None:
    path = program(tmp_path, "init()\nprint(os.read(0, 4))")
    done = shell("printf 'one\\ntwo\\n' | (run \"$@\"; cat)", path)
    assert done.stdout == b"b'one\\n'\ntwo\n"


def test_a_stopped_reader_stops_the_writer(tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        init()
        for number in range(20):
            print(str(number) * 50_000)
            with open(sys.argv[1], "a") as file:
                file.write(".")
        """,
    )
    note = tmp_path / "note"
    process = subprocess.Popen(
        [sys.executable, str(path), str(note)],
        env=programs.environment(CONSTELLATION_FORMAT="human"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with process:
        before, now = -1, 0
        while before != now or not now:
            before, now = now, len(note.read_text()) if note.exists() else 0
            time.sleep(0.3)
        assert now < 20, "it wrote more than fits on the way"
        assert process.stdout is not None
        out = process.stdout.read()
    assert out.split() == [str(number).encode() * 50_000 for number in range(20)]
    assert process.returncode == 0


@pytest.mark.parametrize("signals", [[signal.SIGQUIT], [signal.SIGINT, signal.SIGTERM]])
def test_a_stopped_reader_does_not_keep_what_is_killed(signals: list[int], tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        def flood(parent, note):
            while True:
                print("a line" * 1000)
                with open(note, "a") as file:
                    file.write(".")

        init()
        child = spawn(flood, sys.argv[1]).block()
        try:
            flood(None, sys.argv[1])
        except KeyboardInterrupt:
            open(sys.argv[2], "w").close()
            while True:
                time.sleep(1)
        """,
    )
    note, caught = tmp_path / "note", tmp_path / "caught"
    process = subprocess.Popen(
        [sys.executable, str(path), str(note), str(caught)],
        env=programs.environment(CONSTELLATION_FORMAT="human"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with process:
        before, now = -1, 0
        while before != now or not now:
            before, now = now, len(note.read_text()) if note.exists() else 0
            time.sleep(0.3)
        try:
            process.send_signal(signals[0])
            for number in signals[1:]:
                while not caught.exists():
                    time.sleep(0.01)
                process.send_signal(number)
            # Nobody has read anything, nor does before it has ended.
            assert process.wait(programs.LIMIT) == 128 + signals[0]
        finally:
            process.kill()


# -- terminals


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, master: int, process: subprocess.Popen[bytes]) -> None:
        self.master = master
        self.process = process
        self.shown = b""

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def until(self, wanted: bytes, limit: float = programs.LIMIT) -> None:
        end = time.monotonic() + limit
        while wanted not in self.shown:
            assert time.monotonic() < end, self.shown
            assert self._read(), (wanted, self.shown)

    def rest(self) -> None:
        while self._read():
            pass

    def _read(self) -> bool:
        ready, _, _ = select.select([self.master], [], [], 0.1)
        if not ready:
            return True
        try:
            data = os.read(self.master, 1 << 16)
        except OSError:  # EIO: nobody has the other end any more
            return False
        self.shown += data
        return bool(data)


@contextmanager
def terminal(path: Path, *arguments: str, **settings: str) -> Iterator[Terminal]:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, str(path), *arguments],
        env=programs.environment(CONSTELLATION_FORMAT="human", **{"NO_COLOR": "1", **settings}),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - no threads
    )
    os.close(slave)
    shown = Terminal(master, process)
    with process:
        try:
            yield shown
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            if shown.master >= 0:
                os.close(shown.master)


def plain(shown: bytes) -> str:
    return re.sub(r"\b[0-9a-f]{7}\b", "PID", shown.decode().replace("\r\n", "\n"))


def test_a_terminal_shows_the_processes(tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        def child(parent):
            print(input.__name__, repr(sys.stdin.read()))

        init()
        print(input("name? "))
        wait(spawn(child).block())
        """,
    )
    with terminal(path) as shown:
        shown.until(b"name? ")
        shown.type(b"Ann\n")
        shown.rest()
        assert shown.process.wait(programs.LIMIT) == 0
    text = plain(shown.shown)
    assert text.startswith("PID:\n    name? Ann\n    Ann\n")
    # Either may be shown to have exited first: the parent waited for the death alone.
    assert "PID:\n    input ''\n" in text
    assert text.count("    exited: 0\n") == 2
    assert text.endswith("    exited: 0\n")


WAITS = """
def child(parent):
    print("child waits")
    time.sleep(1000)

init()
spawn(child).block()
signal.signal(signal.SIGCONT, lambda *_: print("continued"))
print("parent waits")
while True:
    time.sleep(1000)
"""


def waiting(shown: Terminal) -> list[int]:
    shown.until(b"parent waits")
    shown.until(b"child waits")
    zygote, *_ = programs.children_of(shown.process.pid)
    monitors = programs.children_of(zygote)
    below = [each for monitor in monitors for each in programs.children_of(monitor)]
    return [zygote, *monitors, *below]


def gone(pids: list[int]) -> bool:
    return not any(map(programs.alive, pids))


def test_ctrl_c_twice_ends_the_program(tmp_path: Path) -> None:
    with terminal(program(tmp_path, WAITS)) as shown:
        below = waiting(shown)
        shown.type(b"\x03")
        shown.until(b"exited: SIGINT")
        shown.type(b"\x03")
        shown.rest()
        assert shown.process.wait(programs.LIMIT) == 130
    assert gone(below)
    text = plain(shown.shown)
    assert "KeyboardInterrupt" in text
    assert "exited: SIGKILL (killed by the command after SIGINT)" in text
    assert "constellation" not in text


def test_ctrl_backslash_ends_the_program_at_once(tmp_path: Path) -> None:
    with terminal(program(tmp_path, WAITS)) as shown:
        below = waiting(shown)
        shown.type(b"\x1c")
        shown.rest()
        assert shown.process.wait(programs.LIMIT) == 128 + signal.SIGQUIT
    assert gone(below)
    assert plain(shown.shown).count("exited: SIGKILL (killed by the command after SIGQUIT)") == 2


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_ctrl_z_stops_every_process_and_fg_continues(tmp_path: Path) -> None:
    # A shell with job control above it, without which nothing stops.
    path = program(tmp_path, WAITS)
    control = f"set -m; {sys.executable} {path}; echo stopped; read line; fg >/dev/null"
    control_path = tmp_path / "control.py"
    control_path.write_text(f"import os\nos.execvp('bash', ['bash', '-c', {control!r}])\n")
    with terminal(control_path) as shown:
        shown.until(b"parent waits")
        shown.until(b"child waits")
        (bridge,) = programs.children_of(shown.process.pid)
        (zygote,) = programs.children_of(bridge)
        processes = [
            each
            for monitor in programs.children_of(zygote)
            for each in programs.children_of(monitor)
        ]
        shown.type(b"\x1a")
        shown.until(b"stopped")
        end = time.monotonic() + programs.LIMIT
        assert len(processes) >= 2  # and perhaps a spare
        while {state(pid) for pid in [bridge, *processes]} != {"T"}:
            assert time.monotonic() < end
            time.sleep(0.01)
        shown.type(b"\n")
        shown.until(b"continued")
        shown.type(b"\x03")
        shown.until(b"exited: SIGINT")
        shown.type(b"\x03")
        shown.rest()
        shown.process.wait(programs.LIMIT)
    assert gone([bridge, zygote, *processes])


def test_a_terminal_that_is_closed_ends_the_program(tmp_path: Path) -> None:
    with terminal(program(tmp_path, WAITS)) as shown:
        below = waiting(shown)
        os.close(shown.master)
        shown.master = -1
        shown.process.wait(programs.LIMIT)
    assert gone(below)


def test_colour_tells_processes_apart_and_can_be_turned_off(tmp_path: Path) -> None:
    path = program(tmp_path, "init()\nprint('text')")
    with terminal(path, TERM="xterm") as shown:
        shown.rest()
    assert b"\x1b" not in shown.shown
    with terminal(path, TERM="xterm", NO_COLOR="") as shown:
        shown.rest()
    assert b"\x1b[" in shown.shown
    assert b"    text" in shown.shown
