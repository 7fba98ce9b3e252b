"""Processes of multiprocessing, started by the method that the argument names.

Small, since processes that are spawned and forked from a server run it again.
"""

from __future__ import annotations

import multiprocessing
import sys

import multiprocessing_work as work

# What a process imports before it does its work.
PRELOAD = [work.__name__, "array", "multiprocessing.resource_sharer", "pickle", "runpy", "socket"]


def main() -> None:
    from serve import serve

    multiprocessing.set_start_method(sys.argv[1])
    if sys.argv[1] == "forkserver":
        multiprocessing.set_forkserver_preload(PRELOAD)
    idlers = work.Idlers()
    serve(
        {
            "one_by_one": work.one_by_one,
            "at_once": work.at_once,
            "recursion": work.recursion,
            "start": idlers.start,
            "end": idlers.end,
        }
    )


if __name__ == "__main__":
    main()
