# case: {"out": "Two ('three',) 1\nNever: no\n5\n", "exit": 0, "children": [{"exit": 0}]}
"""An exception whose constructor takes something else than `args` arrives; what cannot, is told."""

from constellation import Receiver, Sender, SerializationError, init, spawn


class Two(Exception):
    def __init__(self, one, two):
        super().__init__("three")
        self.one = one


class Never(Exception):
    def __reduce__(self):
        return never, ()


def never():
    raise ValueError("no")


def child(parent):
    Sender(parent).send_many([Two(1, 2), Never(), 5]).block()


def main():
    init()
    receiver = Receiver(spawn(child).block())
    two = receiver.recv().block()
    print(type(two).__name__, two.args, two.one)
    try:
        receiver.recv().block()
    except SerializationError as error:
        print("Never:", error.__cause__)
    print(receiver.recv().block())


if __name__ == "__main__":
    main()
