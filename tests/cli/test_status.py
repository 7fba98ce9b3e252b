from __future__ import annotations

import pytest

from constellation.cli.status import text
from constellation.control.cluster import (
    NodeState,
    ProcessState,
    ProgramState,
    Status,
    WaitingState,
)
from constellation.units import memory_shown


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (300 << 20, "300 MiB"),
        (1500 << 20, "1500 MiB"),
        (100 << 30, "100 GiB"),
        (24731708 << 10, "23.6 GiB"),  # of a machine
        ((2 << 30) + 1, "2 GiB"),
    ],
)
def test_memory_is_shown_in_few_characters(size: int, shown: str) -> None:
    assert memory_shown(size) == shown


NODE = NodeState("[fd00::1]:9999", "joined", 2 << 30, 2 * 10**9, 300 << 20, 10**8, 1, 0.52)
GONE = NodeState("10.0.0.2:9999", "absent", 0, 0, 0, 0, 0, None)


def test_what_is_shown_of_nodes_alone() -> None:
    assert text(Status("1", 1, 5555, (NODE, GONE), (), ())).splitlines() == [
        " node            state   memory            cores     processes  heard of",
        " [fd00::1]:9999  joined  300 MiB of 2 GiB  0.1 of 2  1          0.5 s ago",
        " 10.0.0.2:9999   absent  -                 -         0          -",
    ]


def test_each_table_has_a_heading() -> None:
    program = ProgramState("7d60d17" + 25 * "0", "tcp://[fd00::1]:8888", 1, "-m tool.main")
    process = ProcessState("9b71a44" + 25 * "0", program.program, NODE.node, 300 << 20, 10**8)
    waiting = WaitingState(400 << 20, 62_500_000, 1, 12.3, "waits for room")
    shown = text(Status("1", 1, 5555, (NODE,), (program,), (waiting,), (process,)))
    process_shown = (
        " process  program  node            memory   cores\n"
        " 9b71a44  7d60d17  [fd00::1]:9999  300 MiB  0.1"
    )
    waiting_shown = (
        " waiting  memory   cores   for   because it\n"
        " 1        400 MiB  0.0625  12 s  waits for room"
    )
    assert shown.split("\n\n")[1:] == [
        (
            " program  name          bridge          waiting\n"
            " 7d60d17  -m tool.main  [fd00::1]:8888  1"
        ),
        process_shown,
        waiting_shown,
    ]
    assert all(line == line.rstrip() for line in shown.splitlines())


def test_names_are_text_whatever_is_in_them() -> None:
    node = NodeState("a\x1b[2J\nb", "joined", 0, 0, 0, 0, 0, None)
    shown = text(Status("1", 1, 5555, (node,), (), ()))
    assert shown.splitlines()[1].split()[0] == r"a\x1b[2J\nb"
