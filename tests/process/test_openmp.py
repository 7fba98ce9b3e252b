"""GNU OpenMP before `init()`: its threads are ended there, or there is a warning."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import programs
import pytest

from constellation.process import openmp

linux = pytest.mark.skipif(sys.platform != "linux", reason="its threads are told on Linux only")

# -- what the kernel says

MAPS = """\
559d8a600000-559d8a601000 r--p 00000000 fe:01 131 /opt/libgomp/bin/python3
559d8a601000-559d8a602000 r-xp 00001000 fe:01 131 /opt/libgomp/bin/python3
7f1c00000000-7f1c00021000 rw-p 00000000 00:00 0
7f1c10000000-7f1c10003000 r--p 00000000 fe:01 77                         /usr/lib/libgomp.so.1.0.0
7f1c10003000-7f1c10010000 r-xp 00003000 fe:01 77                         /usr/lib/libgomp.so.1.0.0
7f1c10010000-7f1c10011000 rw-p 00010000 fe:01 77                         /usr/lib/libgomp.so.1.0.0
7f1c20000000-7f1c20001000 r-xp 00000000 fe:01 78      /home/a b/w.libs/libgomp-a34b3233.so.1.0.0
7f1c20002000-7f1c20003000 rwxp 00002000 fe:01 78      /home/a b/w.libs/libgomp-a34b3233.so.1.0.0
7f1c30000000-7f1c30001000 r-xp 00000000 fe:01 79                         /usr/lib/libomp.so.5
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                          [stack]
"""


def test_the_libraries_are_found_by_their_names() -> None:
    assert openmp._libraries(MAPS.splitlines(keepends=True)) == {
        "/usr/lib/libgomp.so.1.0.0": [range(0x7F1C10003000, 0x7F1C10010000)],
        "/home/a b/w.libs/libgomp-a34b3233.so.1.0.0": [
            range(0x7F1C20000000, 0x7F1C20001000),
            range(0x7F1C20002000, 0x7F1C20003000),
        ],
    }


@pytest.mark.parametrize(
    ("flags", "forked"), [(0x400000, False), (0x400040, True), (0x40, True), (0, False)]
)
def test_a_fork_is_told_by_its_flags(flags: int, forked: bool) -> None:
    stat = f"7 (a) b (64) S 1 7 7 0 -1 {flags} 1146 0 0 0 2 1".encode()
    assert openmp._is_fork(stat) is forked


@linux
def test_a_fork_is_told_from_a_program() -> None:
    program = "print(open('/proc/self/stat', 'rb').read())"
    code = f"import os\nif not os.fork(): {program}\nelse: os.wait(), {program}"
    done = subprocess.run([sys.executable, "-uc", code], capture_output=True, check=True)
    assert [openmp._is_fork(line) for line in done.stdout.splitlines()] == [True, False]


def test_one_thread_is_all_that_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openmp, "_threads", lambda: [str(os.getpid())])
    monkeypatch.setattr(openmp, "open", None, raising=False)
    assert openmp._stuck() == []


def test_nothing_is_said_where_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> list[str]:
        raise FileNotFoundError("/proc/self/task")

    monkeypatch.setattr(openmp, "_threads", unknown)
    openmp.prepare(stacklevel=1)  # a warning would be an error


@pytest.mark.parametrize(
    ("stacks", "found"),
    [
        ([[5, 25]], True),
        ([[5, 20]], False),
        ([[]], False),
        ([None, None, [15]], True),  # it spun at first
        ([None, None, [5]], False),
        ([None] * 9, False),  # it computes
    ],
)
def test_threads_are_told_by_where_they_sleep(
    monkeypatch: pytest.MonkeyPatch, stacks: list[list[int] | None], found: bool
) -> None:
    own = str(threading.get_native_id())
    past = iter(stacks)
    monkeypatch.setattr(openmp, "_threads", lambda: [own, "0"])
    monkeypatch.setattr(openmp, "_stack", lambda thread: next({"0": past}[thread]))
    # Every look takes a seventh of the time that there is.
    clock = itertools.count(0, openmp._SPINNING / 7)
    time = SimpleNamespace(monotonic=clock.__next__, sleep=lambda seconds: None)
    monkeypatch.setattr(openmp, "time", time)
    assert openmp._has_threads([range(10, 20), range(25, 30)]) is found


# -- programs

REGION = """
import ctypes
import os
import time

ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class OpenMP:
    def __init__(self, path):
        self.library = ctypes.CDLL(path)

    def region(self, threads=2):
        seen = set()
        entry = ENTRY(lambda _: seen.add(self.library.omp_get_thread_num()))
        self.library.GOMP_parallel(entry, None, threads, 0)
        return len(seen)


def rest():
    # The threads spin for a moment after their work, before they sleep.
    for thread in os.listdir("/proc/self/task"):
        if int(thread) != os.getpid():
            while open(f"/proc/self/task/{thread}/syscall").read() == "running\\n":
                time.sleep(0.001)
"""

PARALLEL_AGAIN = """
import sys

from constellation import Receiver, Sender, init, spawn
from regions import OpenMP

libraries = [OpenMP(path) for path in sys.argv[1:]]


def work(parent):
    Sender[list[int]](parent).send([each.region() for each in libraries]).block()


def main():
    assert all(each.region() == 2 for each in libraries)
    init()
    print([each.region(3) for each in libraries])
    print(Receiver[list[int]](spawn(work).block()).recv().block())


if __name__ == "__main__":
    main()
"""


@pytest.fixture(scope="module")
def libgomp() -> Path:
    """GNU OpenMP of this machine."""
    code = (
        "import ctypes; ctypes.CDLL('libgomp.so.1')\n"
        "maps = open('/proc/self/maps').read().split()\n"
        "print(next(each for each in maps if '/libgomp' in each))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    if done.returncode:
        pytest.fail("no GNU OpenMP on this machine: `apt-get install libgomp1`", pytrace=False)
    return Path(os.fsdecode(done.stdout.strip()))


@pytest.fixture
def old(libgomp: Path, tmp_path: Path) -> Path:
    """One that has no way to end its threads, as those in most wheels."""
    data = libgomp.read_bytes()
    assert b"\0omp_pause_resource_all\0" in data
    path = tmp_path / "libgomp-0ld.so.1.0.0"
    path.write_bytes(data.replace(b"\0omp_pause_resource_all\0", b"\0omp_pause_resource_a77\0"))
    return path


@pytest.fixture
def regions(tmp_path: Path) -> None:
    programs.write(tmp_path, REGION, "regions.py")


def lines(done: programs.Finished) -> list[str]:
    """What the initial process printed. Nothing else has: no process, and no warning."""
    (node,) = [node for node in done.tree.all() if node.out]
    assert all(node.err == b"" for node in done.tree.all())
    assert done.code == 0
    return node.out.decode().splitlines()


@linux
@pytest.mark.parametrize("policy", ["passive", "active", ""])
def test_it_runs_in_parallel_before_and_after(
    libgomp: Path, regions: None, tmp_path: Path, policy: str
) -> None:
    copy = tmp_path / "libgomp-c0py.so.1"
    copy.write_bytes(libgomp.read_bytes())
    path = programs.write(tmp_path, PARALLEL_AGAIN)
    # The threads of an active one never sleep.
    done = programs.run(path, "libgomp.so.1", str(copy), OMP_WAIT_POLICY=policy)
    assert lines(done) == ["[3, 3]", "[2, 2]"]


WARNED = """
import sys
import warnings

from constellation import init
from regions import OpenMP, rest

new = OpenMP("libgomp.so.1")
old = OpenMP(sys.argv[1])
new.region()
old.region()
rest()

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    init()  # here

print(len(caught))
for each in caught:
    print(each.category.__name__, each.filename == __file__)
    print(open(each.filename).read().splitlines()[each.lineno - 1])
    print(each.message)
print(new.region())
"""


@linux
def test_one_that_cannot_end_its_threads_is_warned_of(
    old: Path, regions: None, tmp_path: Path
) -> None:
    done = programs.run(programs.write(tmp_path, WARNED), str(old))
    count, kind, line, text, again = lines(done)
    assert (count, kind, line, again) == ("1", "RuntimeWarning True", "    init()  # here", "2")
    assert text == (
        "GNU OpenMP (libgomp-0ld.so.1.0.0) has run in parallel before init(), which forks: where "
        "it does so again, it may wait for ever for threads that a fork does not have. Let it run "
        "only after init(), or set OMP_NUM_THREADS=1 or CONSTELLATION_START=fresh"
    )


@linux
def test_a_warning_that_is_an_error_leaves_the_program_as_it_was(
    old: Path, regions: None, tmp_path: Path
) -> None:
    path = programs.write(
        tmp_path,
        """
        import sys
        import warnings

        from constellation import init, pid
        from regions import OpenMP, rest

        old = OpenMP(sys.argv[1])
        old.region()
        rest()
        warnings.simplefilter("error")
        try:
            init()
        except RuntimeWarning:
            warnings.simplefilter("ignore")
            old.region()
            init()
            print("began", pid() is not None)
        """,
    )
    assert lines(programs.run(path, str(old))) == ["began True"]


@linux
@pytest.mark.parametrize("before", ["", "old.region(1)", "old.library.omp_get_max_threads()"])
def test_there_is_no_warning_where_none_of_its_threads_waits(
    old: Path, regions: None, tmp_path: Path, before: str
) -> None:
    # The threads that do wait are those of another library, which is OpenBLAS.
    path = programs.write(
        tmp_path,
        f"""
        import os
        import sys

        import numpy
        from constellation import Receiver, Sender, init, spawn
        from regions import OpenMP

        old = OpenMP(sys.argv[1])
        ones = numpy.ones((500, 500))
        product = ones @ ones
        {before}


        def work(parent):
            same = bool((ones @ ones == product).all())
            Sender[tuple[bool, int]](parent).send((same, old.region())).block()


        if len(os.listdir("/proc/self/task")) > 1:
            init()
            print(old.region())
            print(Receiver[tuple[bool, int]](spawn(work).block()).recv().block())
        """,
    )
    done = programs.run(path, str(old), OPENBLAS_NUM_THREADS="2", OMP_NUM_THREADS="")
    assert lines(done) == ["2", "(True, 2)"]


@linux
def test_a_fork_does_not_wait_for_the_threads_that_it_has_not(
    libgomp: Path, regions: None, tmp_path: Path
) -> None:
    path = programs.write(
        tmp_path,
        """
        import os
        import sys
        import warnings

        import numpy
        from constellation import init, pid
        from regions import OpenMP

        OpenMP("libgomp.so.1").region()
        # Newer Pythons warn of a fork beside other threads.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
        if child:
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        ones = numpy.ones((500, 500))
        ones @ ones
        assert len(os.listdir("/proc/self/task")) > 1
        init()
        print("began", pid() is not None)
        """,
    )
    assert lines(programs.run(path, OPENBLAS_NUM_THREADS="2")) == ["began True"]
