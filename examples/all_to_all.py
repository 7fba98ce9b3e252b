"""Every process exchanges numbered messages with every other.

The first process introduces the others to each other. Each sends to all and receives from all, with
asyncio, and checks that everything came and in order. Run it with
`python examples/all_to_all.py [PROCESSES] [--messages MESSAGES]`.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence

from constellation import Pid, Receiver, Sender, init, join, pid, spawn


async def member(parent: Pid, messages: int) -> None:
    everybody = await Receiver[Sequence[Pid]](parent).recv()
    others = [other for other in everybody if other != pid()]
    received = await asyncio.gather(
        *(send_to(other, messages) for other in others),
        *(receive_from(other, messages) for other in others),
    )
    await Sender[int](parent).send(sum(received))


async def send_to(other: Pid, messages: int) -> int:
    async with Sender[int](other) as sender:
        for number in range(messages):
            await sender.send(number)
    return 0


async def receive_from(other: Pid, messages: int) -> int:
    count = 0
    async with Receiver[int](other) as receiver:
        async for number in receiver:
            if number != count:
                raise AssertionError(f"expected {count} from {other}, got {number}")
            count += 1
    if count != messages:
        raise AssertionError(f"expected {messages} messages from {other}, got {count}")
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description="Send from every process to every other.")
    parser.add_argument("processes", type=int, nargs="?", default=10, help="how many (default: 10)")
    parser.add_argument("--messages", type=int, default=100, help="for each other (default: 100)")
    arguments = parser.parse_args()
    if arguments.processes < 1:
        parser.error("there has to be a process")
    init()
    members = join(*[spawn(member, arguments.messages) for _ in range(arguments.processes)]).block()
    for each in members:
        Sender[Sequence[Pid]](each).send(members).block()
    counts = join(*[Receiver[int](each).recv() for each in members]).block()
    print(f"{len(members)} processes received {sum(counts)} messages, all in order")


if __name__ == "__main__":
    main()
