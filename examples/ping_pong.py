"""The time of a round trip between two processes.

Run it with `python examples/ping_pong.py [PAIRS] [--rounds ROUNDS]`: each pair plays at the same
time.
"""

from __future__ import annotations

import argparse
import statistics
import time

from constellation import Pid, Receiver, Sender, init, join, spawn


def pong(ping: Pid) -> None:
    sender = Sender[int](ping)
    for ball in Receiver[int](ping):
        sender.send(ball).block()


def ping(parent: Pid, rounds: int) -> None:
    other = spawn(pong).block()
    times = []
    with Sender[int](other) as sender, Receiver[int](other) as receiver:
        for ball in range(rounds):
            start = time.perf_counter()
            sender.send(ball).block()
            if receiver.recv().block() != ball:
                raise AssertionError("another ball came back")
            times.append(time.perf_counter() - start)
    Sender[float](parent).send(statistics.median(times)).block()


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure round trips between processes.")
    parser.add_argument("pairs", type=int, nargs="?", default=1, help="how many (default: 1)")
    parser.add_argument("--rounds", type=int, default=1000, help="of each pair (default: 1000)")
    arguments = parser.parse_args()
    if arguments.pairs < 1:
        parser.error("there has to be a pair")
    init()
    players = join(*[spawn(ping, arguments.rounds) for _ in range(arguments.pairs)]).block()
    medians = join(*[Receiver[float](player).recv() for player in players]).block()
    for player, median in zip(players, medians, strict=True):
        print(f"{player}: a round trip takes {median * 1e6:.0f} microseconds")


if __name__ == "__main__":
    main()
