# case: {"out": "worker.guard: cannot pickle '_thread.lock' object\nargs[0].cfg.lock: cannot pickle '_thread.lock' object\nvalue: cannot pickle '_thread.lock' object\nnothing was started\n", "exit": 0, "children": [{"out": "got 'after'\n", "exit": 0}, {"out": "the image has it\n", "exit": 0}], "fresh": true}
"""A lock that would have to travel is an error at the caller; one of the script is none."""

import threading
from types import SimpleNamespace

from constellation import ProcessExited, Receiver, Sender, SerializationError, init, spawn

GLOBAL = threading.Lock()


def attempt(operation):
    try:
        operation.block()
    except SerializationError as error:
        print(error)


def reader(parent):
    print("got", repr(Receiver(parent).recv().block()))


def uses_global(parent):
    with GLOBAL:
        print("the image has it")


def wait(pid):
    try:
        Receiver(pid).recv().block()
    except ProcessExited as error:
        assert error.status.success


def main():
    init()
    guard = threading.Lock()

    def worker(parent):
        with guard:
            print("never called")

    attempt(spawn(worker))
    attempt(spawn(reader, SimpleNamespace(cfg=SimpleNamespace(lock=guard))))
    pid = spawn(reader).block()
    with Sender(pid) as sender:
        attempt(sender.send(guard))
        sender.send("after").block()
    wait(pid)
    wait(spawn(uses_global).block())
    print("nothing was started")


main()
