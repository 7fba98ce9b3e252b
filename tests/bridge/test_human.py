from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.bridge.events import EofEvent, Event, ExitEvent, OutputEvent, SpawnEvent
from constellation.bridge.human import HOLD, HumanRenderer, Look
from constellation.bridge.jsonlines import HALF_CHARACTER
from constellation.exit_status import ExitStatus
from constellation.pid import Pid
from constellation.units import Mem

A, B = (Pid.parse(f"{key}{'0' * 25}@ipc:///tmp/p") for key in ("3fecd01", "833d3de"))
OK = ExitStatus(code=0)
EURO = "€".encode()

TERMINAL = Look(together=True, terminals=frozenset({1, 2}), colour=False)
COLOURED = Look(together=True, terminals=frozenset({1, 2}), colour=True)
TO_FILE = Look(together=False, terminals=frozenset({2}), colour=False)
TO_FILES = Look(together=False, terminals=frozenset(), colour=False)
TO_ONE_FILE = Look(together=True, terminals=frozenset(), colour=False)
OUT_ONLY = Look(together=False, terminals=frozenset({1}), colour=False)


class Shown:
    """What a renderer has had written."""

    def __init__(self, look: Look) -> None:
        self.stalled = False
        self.renderer = HumanRenderer(look, lambda: self.stalled)
        self.pieces: list[tuple[int, bytes]] = []
        self.now = 0.0

    def render(self, *events: Event) -> None:
        for event in events:
            self.pieces += self.renderer.render(event, self.now)

    def output(self, pid: Pid, data: bytes | str, fd: int = 1) -> None:
        data = data.encode() if isinstance(data, str) else data
        self.render(OutputEvent(pid, fd, data))

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.pieces += self.renderer.tick(self.now)
        deadline = self.renderer.deadline()
        assert deadline is None or deadline > self.now

    def close(self) -> None:
        self.pieces += self.renderer.close()
        assert self.renderer.deadline() is None

    def data(self, *fds: int) -> bytes:
        return b"".join(data for fd, data in self.pieces if fd in (fds or (1, 2)))

    def text(self, *fds: int) -> str:
        return self.data(*fds).decode()


def test_the_example_of_the_interface() -> None:
    shown = Shown(TERMINAL)
    shown.render(SpawnEvent(A, None))
    shown.output(A, "Hello, world!\n")
    shown.render(SpawnEvent(B, A), EofEvent(A, 1), EofEvent(A, 2), ExitEvent(A, OK))
    assert shown.text() == ("3fecd01:\n    Hello, world!\n    spawned: 833d3de\n    exited: 0\n")
    assert (1, b"    Hello, world!\n") in shown.pieces


def test_a_file_holds_just_what_was_printed() -> None:
    shown = Shown(TO_FILE)
    shown.output(A, "to stderr\n", 2)
    shown.output(A, "one\n\r\ntwo")
    shown.output(B, bytes(range(256)))
    shown.render(SpawnEvent(B, A))
    for pid in (A, B):
        shown.render(EofEvent(pid, 1), EofEvent(pid, 2), ExitEvent(pid, OK))
    everything = bytes(range(256))
    assert shown.data(1) == b"one\n\r\n" + everything[:11] + b"two" + everything[11:]
    assert shown.text(2) == (
        "3fecd01:\n    to stderr\n    spawned: 833d3de\n    exited: 0\n833d3de:\n    exited: 0\n"
    )


def test_both_in_one_file_look_as_on_a_terminal() -> None:
    shown = Shown(TO_ONE_FILE)
    shown.output(A, "out\n")
    shown.output(A, "err\n", 2)
    assert shown.text() == "3fecd01:\n    out\n    err\n"


def test_processes_take_turns_under_their_headings() -> None:
    shown = Shown(TERMINAL)
    shown.output(A, "1\n2\n")
    shown.output(B, "3\n")
    shown.output(B, "4\n", 2)
    shown.output(A, "5\n")
    assert shown.text() == "3fecd01:\n    1\n    2\n833d3de:\n    3\n    4\n3fecd01:\n    5\n"


def test_empty_lines_stay_empty() -> None:
    shown = Shown(TERMINAL)
    shown.output(A, "\n\na\n\r\nb\n\n")
    assert shown.text() == "3fecd01:\n\n\n    a\n\r\n    b\n\n"


# -- parts of lines


def test_a_line_waits_for_its_rest() -> None:
    shown = Shown(TERMINAL)
    shown.output(A, "one ")
    shown.output(B, "two ")
    shown.wait(HOLD * 0.9)
    shown.output(A, "line\n")
    shown.output(B, "lines\n")
    assert shown.text() == "3fecd01:\n    one line\n833d3de:\n    two lines\n"
    assert shown.renderer.deadline() is None


def test_a_prompt_is_shown_soon() -> None:
    shown = Shown(TERMINAL)
    shown.output(A, "Name? ")
    assert shown.text() == ""
    assert shown.renderer.deadline() == HOLD
    shown.wait(HOLD)
    assert shown.text() == "3fecd01:\n    Name? "
    shown.output(A, "thanks\n")
    assert shown.text() == "3fecd01:\n    Name? thanks\n"


def test_the_wait_begins_with_the_first_part() -> None:
    shown = Shown(TERMINAL)
    for _ in range(4):
        shown.output(A, ".")
        shown.wait(HOLD / 4)
    assert shown.text() == "3fecd01:\n    ...."


def test_a_part_that_was_shown_is_ended_before_others() -> None:
    shown = Shown(TERMINAL)
    shown.output(A, "part")
    shown.wait(HOLD)
    shown.output(B, "other\n")
    shown.output(A, "rest\n")
    assert shown.text() == "3fecd01:\n    part\n833d3de:\n    other\n3fecd01:\n    rest\n"


def test_annotations_begin_on_a_line_of_their_own() -> None:
    shown = Shown(TERMINAL)
    shown.output(A, "no newline")
    shown.render(SpawnEvent(B, A))
    shown.output(A, "nor here")
    shown.render(EofEvent(A, 1), ExitEvent(A, OK))
    assert shown.text() == (
        "3fecd01:\n    no newline\n    spawned: 833d3de\n    nor here\n    exited: 0\n"
    )


def test_the_end_of_a_stream_shows_what_waits() -> None:
    shown = Shown(TO_FILE)
    shown.output(A, "part")
    assert shown.text(1) == ""
    shown.render(EofEvent(A, 1))
    assert shown.text(1) == "part"


def test_closing_shows_what_waits_and_ends_the_line() -> None:
    shown = Shown(TERMINAL)
    shown.output(A, b"part" + EURO[:1])
    shown.close()
    assert shown.data() == b"3fecd01:\n    part" + EURO[:1] + b"\n"


def test_a_long_line_does_not_wait() -> None:
    shown = Shown(TO_FILE)
    for _ in range(80):
        shown.output(A, b"x" * (1 << 16))
    shown.render(EofEvent(A, 1))
    assert shown.data(1) == b"x" * (80 << 16)
    assert max(len(data) for _, data in shown.pieces) < 1 << 18


def test_a_long_line_on_a_terminal_is_one_line() -> None:
    shown = Shown(TERMINAL)
    for _ in range(3):
        shown.output(A, EURO * 30_000 + EURO[:1])
        shown.output(A, EURO[1:])
    shown.render(ExitEvent(A, OK))
    assert shown.text() == "3fecd01:\n    " + "€" * 90_003 + "\n    exited: 0\n"


def test_while_stalled_the_wait_does_not_count() -> None:
    shown = Shown(TERMINAL)
    shown.output(A, "one ")
    shown.stalled = True
    assert shown.renderer.deadline() is None
    shown.wait(5.0)
    shown.stalled = False
    assert shown.renderer.deadline() == 5.0 + HOLD
    shown.wait(HOLD / 2)
    shown.output(A, "line\n")
    assert shown.text() == "3fecd01:\n    one line\n"


def test_a_progress_bar_returns_to_its_indentation() -> None:
    shown = Shown(TERMINAL)
    for percent in (0, 50, 100):
        shown.output(A, f"\r{percent}%")
        shown.wait(HOLD)
    shown.output(A, "\r")
    shown.wait(HOLD)
    shown.output(A, "done\r")
    shown.output(A, "\n")
    assert shown.text() == ("3fecd01:\n\r    0%\r    50%\r    100%\r    done\r\n")


def test_a_line_that_has_returned_is_ended_before_others() -> None:
    shown = Shown(TERMINAL)
    shown.output(A, "50%\r")
    shown.wait(HOLD)
    shown.output(B, "other\n")
    assert shown.text() == "3fecd01:\n    50%\r\n833d3de:\n    other\n"


# -- parts of characters


def test_a_line_that_the_terminal_has_ended_is_ended() -> None:
    renderer = HumanRenderer(TERMINAL)
    assert renderer.render(OutputEvent(A, 1, b"name? "), 0.0) == []
    told = renderer.tick(HOLD)
    assert told == [(2, f"{A}:\n".encode()), (1, b"    name? ")]
    renderer.echoed()
    assert renderer.render(OutputEvent(A, 1, b"thanks\n"), 1.0) == [(1, b"    thanks\n")]


def test_what_is_typed_at_a_terminal_is_nothing_to_a_file() -> None:
    renderer = HumanRenderer(OUT_ONLY)
    renderer.render(OutputEvent(A, 2, b"name? "), 0.0)
    renderer.tick(HOLD)
    renderer.echoed()
    assert renderer.render(OutputEvent(A, 2, b"thanks\n"), 1.0) == [(2, b"thanks\n")]


def test_characters_of_two_processes_are_never_broken() -> None:
    shown = Shown(TERMINAL)
    for _ in range(3):
        for byte in EURO:
            for pid in (A, B):
                shown.output(pid, bytes([byte]))
                shown.wait(3600.0)
    shown.render(ExitEvent(A, OK), ExitEvent(B, OK))
    text = shown.text()
    assert text.count("€") == 6
    assert text == ("3fecd01:\n    €\n833d3de:\n    €\n" * 3) + (
        "3fecd01:\n    exited: 0\n833d3de:\n    exited: 0\n"
    )


def test_what_is_no_text_gets_through_a_pipe() -> None:
    shown = Shown(TO_FILES)
    shown.output(A, b"x" + EURO[:2])
    shown.wait(HOLD)
    assert shown.data(1) == b"x"
    shown.wait(HALF_CHARACTER - HOLD)
    assert shown.data(1) == b"x"
    shown.wait(HALF_CHARACTER)
    assert shown.data(1) == b"x" + EURO[:2]
    assert shown.renderer.deadline() is None


def test_a_half_on_a_terminal_does_not_keep_the_loop_busy() -> None:
    shown = Shown(OUT_ONLY)
    shown.output(A, EURO[:1])
    shown.wait(HOLD)
    assert shown.renderer.deadline() is None
    shown.output(A, EURO[:1], 2)
    shown.wait(HOLD)
    assert shown.renderer.deadline() == 2 * HOLD + HALF_CHARACTER
    shown.wait(HALF_CHARACTER + HOLD)
    assert shown.data(2) == b"3fecd01:\n    " + EURO[:1]
    shown.render(EofEvent(A, 1))
    assert shown.data(1) == EURO[:1]


# -- ends


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (OK, "exited: 0"),
        (ExitStatus(code=3, max_rss=Mem("9 GiB")), "exited: 3"),
        (ExitStatus(signal="SIGTERM", max_rss=Mem("9 GiB")), "exited: SIGTERM"),
        (ExitStatus(signal="SIGABRT", core_dumped=True), "exited: SIGABRT (core dumped)"),
        (ExitStatus(signal="SIGKILL", max_rss=Mem("512 MiB")), "exited: SIGKILL (peak 512 MiB)"),
        (
            ExitStatus(signal="SIGSEGV", core_dumped=True, max_rss=Mem("1 GiB")),
            "exited: SIGSEGV (core dumped, peak 1 GiB)",
        ),
        (
            ExitStatus(signal="SIGKILL", cause="used 512 MiB\nof 100 MiB", max_rss=Mem(1)),
            "exited: SIGKILL (used 512 MiB of 100 MiB)",
        ),
        (ExitStatus(lost="node 10.0.0.2:9999"), "lost: node 10.0.0.2:9999"),
        (ExitStatus(lost="node \x1b[2J\x07"), r"lost: node \x1b[2J\x07"),
        (ExitStatus.INDETERMINATE, "exited: indeterminate"),
    ],
)
def test_how_it_ended(status: ExitStatus, line: str) -> None:
    shown = Shown(TERMINAL)
    shown.render(ExitEvent(A, status))
    assert shown.text() == f"3fecd01:\n    {line}\n"


def test_late_output_comes_under_its_heading() -> None:
    shown = Shown(TERMINAL)
    shown.render(ExitEvent(A, OK), ExitEvent(B, OK))
    shown.output(A, "late\n")
    shown.render(EofEvent(A, 1))
    assert shown.text().endswith("3fecd01:\n    late\n")


# -- colour


def test_each_process_has_a_colour() -> None:
    shown = Shown(COLOURED)
    shown.output(A, "plain\n")
    shown.render(SpawnEvent(B, A), ExitEvent(B, OK))
    assert shown.text() == (
        "\x1b[0;1;34m3fecd01:\x1b[0m\n"
        "    plain\n"
        "    \x1b[0;34mspawned: \x1b[0m\x1b[0;96m833d3de\x1b[0m\n"
        "\x1b[0;1;96m833d3de:\x1b[0m\n"
        "    \x1b[0;96mexited: \x1b[0m\x1b[0;96m0\x1b[0m\n"
    )


@pytest.mark.parametrize(
    ("environ", "colour"),
    [({}, True), ({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_colour_is_for_terminals_that_want_it(
    environ: dict[str, str], colour: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "isatty", lambda fd: True)
    assert Look.of_descriptors(environ).colour == colour
    monkeypatch.setattr(os, "isatty", lambda fd: fd == 1)
    look = Look.of_descriptors(environ)
    assert (look.terminals, look.colour) == (frozenset({1}), False)


# -- properties

LOOKS = st.sampled_from([TERMINAL, TO_FILE, TO_FILES, TO_ONE_FILE, OUT_ONLY])
STEPS = st.lists(
    st.tuples(
        st.sampled_from([A, B]),
        st.sampled_from([1, 2]),
        st.integers(1, 12),
        st.sampled_from([0.0, HOLD / 2, HOLD, HALF_CHARACTER]),
    ),
    max_size=60,
)


@given(STEPS, st.sampled_from([TO_FILE, TO_FILES, OUT_ONLY]), st.binary(min_size=1))
def test_a_stream_for_itself_is_exact(
    steps: list[tuple[Pid, int, int, float]], look: Look, content: bytes
) -> None:
    shown = Shown(look)
    expected = b""
    for pid, fd, size, seconds in steps:
        data = (content * size)[:size]
        # Of one process only, since what two write mixes as it comes.
        shown.output(A if fd == 1 else pid, data, fd)
        expected += data if fd == 1 else b""
        shown.wait(seconds)
    shown.close()
    assert shown.data(1) == expected


@given(STEPS, LOOKS)
def test_every_character_is_shown_in_order_and_whole(
    steps: list[tuple[Pid, int, int, float]], look: Look
) -> None:
    alphabets = {(A, 1): "αβγ€", (A, 2): "жщ😀", (B, 1): "אבגד", (B, 2): "漢字かな"}
    streams = {
        key: "".join(letters[i % len(letters)] + "\n" * (i % 5 == 0) for i in range(200)).encode()
        for key, letters in alphabets.items()
    }
    position = dict.fromkeys(streams, 0)
    shown = Shown(look)
    for pid, fd, size, seconds in steps:
        start = position[pid, fd]
        shown.output(pid, streams[pid, fd][start : start + size], fd)
        position[pid, fd] += size
        # Less than it takes until what looks like half a character counts as none.
        shown.wait(min(seconds, HOLD))
    for (pid, fd), start in position.items():
        shown.output(pid, streams[pid, fd][start:], fd)
    shown.close()
    texts = {fd: shown.text(fd) for fd in (1, 2)}
    for (pid, fd), letters in alphabets.items():
        seen = "".join(character for character in texts[fd] if character in letters)
        assert seen == streams[pid, fd].decode().replace("\n", "")


@given(
    st.lists(
        st.tuples(
            st.sampled_from([A, B]),
            st.sampled_from([1, 2]),
            st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])),
            st.integers(0, 20),
        )
    )
)
def test_lines_that_come_in_time_are_whole_and_under_their_heading(
    lines: list[tuple[Pid, int, str, int]],
) -> None:
    shown = Shown(TERMINAL)
    expected: dict[Pid, list[str]] = {A: [], B: []}
    for pid, fd, line, cut in lines:
        data = line.encode() + b"\n"
        for part in (data[:cut], data[cut:]):
            if part:
                shown.output(pid, part, fd)
                shown.wait(HOLD / 3)
        expected[pid].append(f"    {line}" if line else "")
    seen: dict[Pid, list[str]] = {A: [], B: []}
    current = A
    headings = {f"{pid}:": pid for pid in (A, B)}
    for line in shown.text().split("\n")[:-1]:
        if line in headings:
            current = headings[line]
        else:
            seen[current].append(line)
    assert seen == expected
