"""Signal handlers, finalizers and logging handlers that use channels themselves."""

import asyncio
import gc
import logging
import signal
import sys
import threading
import time
import weakref
from contextlib import contextmanager

from checking import check, gone, main, raises, wait, waiting

from constellation import ProcessExited, Receiver, Sender, SerializationError, spawn
from constellation.channel import context


@contextmanager
def handling(handler):
    before = signal.signal(signal.SIGALRM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)  # first: a handler sets the next alarm
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def within_the_transport(action):
    """Have `action` called once by this thread, when it hands a message to the socket."""
    router = context.current().transport._router
    caller = threading.get_ident()

    def send(route, parts, **how):
        if threading.get_ident() == caller:
            del router.send
            action()
        type(router).send(router, route, parts, **how)

    router.send = send
    yield
    assert "send" not in vars(router), "it was called"


@contextmanager
def unraisable():
    """What finalizers raised."""
    raised = []
    before = sys.unraisablehook
    sys.unraisablehook = lambda info: raised.append(info.exc_value)
    try:
        yield raised
    finally:
        sys.unraisablehook = before


class Cycle:
    """Is found by the garbage collector only. Its finalizer calls what it is given."""

    def __init__(self, action):
        self.action, self.itself = action, self

    def __del__(self):
        self.action()


class Pickled:
    """Calls something when it is pickled."""

    def __init__(self, action):
        self.action = action

    def __reduce__(self):
        self.action()
        return str, ("pickled",)


def echo(parent):
    with Sender(parent) as sender:
        for value in Receiver(parent):
            sender.send(value).block()


def collect(parent, *names):
    seen = {name: list(Receiver(parent, name=name)) for name in names}
    Sender(parent, name="seen").send(seen).block()


@check
def a_handler_that_sends_while_a_loop_sends():
    """At any moment: what it was allowed to send arrives once, and nothing waits for ever."""
    child = spawn(collect, "loop", "same", "other").block()
    loop, same, other = (Sender(child, name=name) for name in ("loop", "same", "other"))
    sent = {"loop": [], "same": [], "other": []}
    refused = 0

    def handler(number, frame):
        nonlocal refused
        for sender in (same, other):
            value = sum(map(len, sent.values()))
            try:
                sender.send(value).block()
                sent[sender.name].append(value)
            except RuntimeError:
                refused += 1
        # Here, and not by an interval: a handler may be interrupted by itself.
        signal.setitimer(signal.ITIMER_REAL, 0.0002 + 0.00001 * (refused % 37))

    with handling(handler):
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        end = time.monotonic() + 1
        number = 0
        # No more than the windows hold: the channels are read one after the other.
        while time.monotonic() < end and number < 100_000:
            for sender in (loop, same):
                value = -number - 1 if sender is same else number
                sender.send(value).block()
                sent[sender.name].append(value)
                number += 1
    for sender in (loop, same, other):
        sender.close()
    seen = Receiver(child, name="seen").recv().block()
    assert seen["loop"] == sent["loop"]
    assert seen["other"] == sent["other"]
    # A handler may come after a value was sent and before that is noted.
    assert sorted(seen["same"]) == sorted(sent["same"])
    for sign in (1, -1):
        own = [value for value in seen["same"] if (value >= 0) == (sign > 0)]
        assert own == sorted(own, key=abs)
    assert len(sent["other"]) > 10


@check
def what_needs_the_transport_is_refused_in_the_middle_of_it():
    with waiting() as child:
        loop, sender, receiver = Sender(child, name="a"), Sender(child), Receiver(child)
        raised = []

        def handler(number, frame):
            for use in (
                lambda: loop.send(1).block(),
                lambda: loop.try_send(1),
                lambda: sender.send_many([1, bytes(5_000_000)]).block(),
                lambda: sender.flush().block(),
                lambda: receiver.recv().block(timeout=10),
                lambda: spawn(wait).block(),
                lambda: Sender(child, name="new"),
                lambda: Receiver(child, name="new"),
            ):
                with raises(RuntimeError) as caught:
                    use()
                raised.append(str(caught.error))

        with handling(handler), within_the_transport(lambda: signal.raise_signal(signal.SIGALRM)):
            loop.send(1).block()
        assert len(raised) == 8
        assert " uses a channel or spawn() in the middle of another use of them" in raised[0]
        assert all(f"at {__file__}:" in text for text in raised)
        assert all(text.startswith(("<lambda>() at", "handler() at")) for text in raised), raised
        # And everything goes on.
        loop.send(2).block()
        sender.send(3).block()
        with raises(TimeoutError):
            receiver.recv().block(timeout=0.01)


@check
def what_a_handler_raises_for_it_ends_what_it_interrupted():
    child = spawn(echo).block()
    sender, receiver = Sender(child), Receiver(child)
    with (
        handling(lambda number, frame: sender.send(3).block()),
        within_the_transport(lambda: signal.raise_signal(signal.SIGALRM)),
        raises(RuntimeError),
    ):
        sender.send(1).block()
    sender.send(2).block()
    sender.close()
    assert list(receiver) == [1, 2]


@check
def what_handlers_and_finalizers_send_in_the_middle_of_the_transport_arrives():
    class Remote(logging.Handler):
        def emit(self, record):
            sender.send(record.getMessage()).block()

    logger = logging.getLogger("constellation.test")
    logger.addHandler(Remote())
    logger.propagate = False
    child = spawn(collect, "loop", "seldom").block()
    loop, sender = Sender(child, name="loop"), Sender(child, name="seldom")

    def handler(number, frame):
        for _ in range(3):
            sender.send("handled").block()
            sender.try_send(bytes(200_000))

    actions = {
        "handled": lambda: signal.raise_signal(signal.SIGALRM),
        "finalized": gc.collect,
        "logged": lambda: logger.warning("logged"),
    }
    gc.disable()  # else it may be found while the very Sender sends
    with handling(handler), unraisable() as raised:
        for word, action in actions.items():
            Cycle(lambda: sender.send("finalized").block())
            with within_the_transport(action):
                loop.send(word).block()
                # If it came so soon after the one before that it would share a frame.
                loop.flush().block()
            sender.send(f"after {word}").block()
            gc.collect()
    gc.enable()
    assert raised == []
    loop.close()
    sender.close()
    seen = Receiver(child, name="seen").recv().block()
    assert seen["loop"] == [*actions]
    words = [value for value in seen["seldom"] if isinstance(value, str)]
    sizes = [len(value) for value in seen["seldom"] if not isinstance(value, str)]
    assert sizes == [200_000] * 3
    finalized = ["finalized"]
    assert words == [
        *["handled"] * 3,
        *["after handled", *finalized],
        *[*finalized, "after finalized"],
        *["logged", "after logged", *finalized],
    ]


@check
def a_handler_waits_for_no_thread_that_waits_for_it():
    """That one is sending on the Sender that the handler sends on, and needs the transport."""
    child = spawn(collect, "loop", "both").block()
    loop, both = Sender(child, name="loop"), Sender(child, name="both")
    for number in range(20):
        inside = threading.Event()

        def send(number=number, inside=inside):
            both.send((number, Pickled(inside.set))).block()

        thread = threading.Thread(target=send)

        def handler(signum, frame, thread=thread, inside=inside):
            thread.start()
            inside.wait()
            time.sleep(0.001)
            refused = False
            for use in (both.send, lambda value: both.flush()):
                try:
                    use("handled").block()
                except RuntimeError:
                    refused = True
            assert refused

        with handling(handler), within_the_transport(lambda: signal.raise_signal(signal.SIGALRM)):
            loop.send(number).block()
        thread.join()
    loop.close()
    both.close()
    seen = Receiver(child, name="seen").recv().block()
    assert seen["loop"] == [*range(20)]
    assert [value for value in seen["both"] if value != "handled"] == [
        (number, "pickled") for number in range(20)
    ]


@check
def what_closes_in_the_middle_of_the_transport_closes():
    """As the finalizer of a class does that has a channel."""
    child = spawn(collect, "a", "b", "c").block()
    first, second, third = (Sender(child, name=name) for name in "abc")
    receiver = Receiver(child, name="seen")
    file = Sender(child, name="file").makefile()

    def close():
        second.close()
        receiver.close()
        file.close()

    second.send("b").block()
    with unraisable() as raised, within_the_transport(gc.collect):
        Cycle(close)
        first.send("a").block()
    assert raised == []
    first.close()
    third.close()
    assert Receiver(child, name="seen").recv().block() == {"a": ["a"], "b": ["b"], "c": []}
    Sender(child, name="b")  # it may be made again
    gone(child)


@check
def a_sender_that_is_closed_while_it_pickles_sends_and_closes():
    child = spawn(collect, "a").block()
    sender = Sender(child, name="a")
    sender.send(1).block()
    sender.send((bytes(100_000), Pickled(sender.close), bytes(100_000))).block()
    first, (before, word, after) = Receiver(child, name="seen").recv().block()["a"]
    assert (first, word, len(before), len(after)) == (1, "pickled", 100_000, 100_000)


@check
def what_waits_while_it_is_pickled_leaves_the_batch_alone():
    child = spawn(collect, "a").block()
    sender, silent = Sender(child, name="a"), Receiver(child)

    def act():
        with raises(TimeoutError):
            silent.recv().block(timeout=0.02)
        for use in (sender.flush, lambda: sender.send(0)):
            with raises(RuntimeError):
                use().block()

    for number in range(3):
        sender.send(number).block()
    sender.send((bytes(70_000), Pickled(act), bytes(70_000))).block()
    sender.send(3).block()
    sender.close()
    *first, (before, word, after), last = Receiver(child, name="seen").recv().block()["a"]
    assert (first, word, last) == ([0, 1, 2], "pickled", 3)
    assert len(before) == len(after) == 70_000


class Receives:
    """Receives when it is unpickled."""

    def __init__(self, receiver):
        self.state = receiver

    def __reduce__(self):
        return Receives._made, ()

    @staticmethod
    def _made():
        return Receives.receiver().recv().block(timeout=10)


@check
def what_receives_where_it_is_received_is_told():
    child = spawn(echo).block()
    sender, receiver = Sender(child), Receiver(child)
    Receives.receiver = weakref.ref(receiver)
    # The other process, where it means the same, gets an error too.
    Sender(child, name="unused").close()

    def send(parent):
        sender = Sender(parent)
        sender.send(Receives(None)).block()
        sender.send("next").block()

    sending = spawn(send).block()
    receives = Receiver(sending)
    Receives.receiver = weakref.ref(receives)
    with raises(SerializationError) as caught:
        receives.recv().block()
    assert isinstance(caught.error.__cause__, RuntimeError)
    assert receives.recv().block() == "next"
    sender.close()
    assert list(receiver) == []


@check
def a_handler_waits_while_what_it_interrupted_waits():
    """Whatever comes first, for either of them, and whichever of them leads."""

    def answer(parent):
        """Answers each request, in the order asked for."""
        senders = {name: Sender(parent, name=name) for name in ("main", "handler")}
        for order in Receiver(parent):
            for name in order:
                senders[name].send(name).block()
                time.sleep(0.002)

    child = spawn(answer).block()
    asks = Sender(child)
    receivers = {name: Receiver(child, name=name) for name in ("main", "handler")}
    silent = Receiver(child, name="silent")

    def handler(number, frame):
        try:
            if not asked:
                asks.send(order).block()
                asked.append(True)
            seen.append(receivers["handler"].recv().block(timeout=30))
        except RuntimeError:
            signal.setitimer(signal.ITIMER_REAL, 0.001)

    def other():
        with raises(ProcessExited):
            silent.recv().block()

    for led in (False, True):
        if led:
            thread = threading.Thread(target=other)
            thread.start()
            while context.current().transport.reactor.lead is None:
                time.sleep(0.001)
        for number in range(20):
            order = ["main", "handler"] if number % 2 else ["handler", "main"]
            seen, asked = [], []
            with handling(handler):
                signal.setitimer(signal.ITIMER_REAL, 0.005)
                seen.append(receivers["main"].recv().block(timeout=30))
                while len(seen) < 2:
                    time.sleep(0.001)
            assert sorted(seen) == ["handler", "main"]
    asks.close()
    thread.join()


@check
def a_handler_that_waits_takes_over_from_a_lead_that_leaves():
    def answer(parent):
        first, second = Sender(parent, name="first"), Sender(parent, name="second")
        third = Sender(parent, name="third")
        Receiver(parent).recv().block()
        first.send(1).block()  # for the other thread, which leads
        time.sleep(0.02)
        second.send(2).block()  # for the handler
        time.sleep(0.02)
        third.send(3).block()

    child = spawn(answer).block()
    asks = Sender(child)
    first, second, third = (Receiver(child, name=name) for name in ("first", "second", "third"))
    seen = []

    def handler(number, frame):
        try:
            if not asked:
                asks.send(None).block()
                asked.append(True)
            seen.append(second.recv().block(timeout=30))
        except RuntimeError:
            signal.setitimer(signal.ITIMER_REAL, 0.001)

    asked = []
    thread = threading.Thread(target=lambda: seen.append(first.recv().block()))
    thread.start()
    while context.current().transport.reactor.lead is None:
        time.sleep(0.001)
    with handling(handler):
        signal.setitimer(signal.ITIMER_REAL, 0.005)
        seen.append(third.recv().block(timeout=30))
        while 2 not in seen:
            time.sleep(0.001)
    thread.join()
    assert sorted(seen) == [1, 2, 3]


@check
def a_task_that_is_dropped_in_the_middle_of_the_transport_waits_no_more():
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # it tells of the task
    child = spawn(echo).block()
    sender, receiver, other = Sender(child), Receiver(child), Sender(child, name="other")
    mailbox = receiver._mailbox
    reactor = context.current().transport.reactor

    async def receive():
        return await receiver.recv()

    loop = asyncio.new_event_loop()
    task = loop.create_task(receive())
    while not reactor.suspended:
        loop.run_until_complete(asyncio.sleep(0))
    with reactor.lock:
        mailbox.wake()  # resumes the task, as what comes while this thread waits would
    loop.close()
    assert len(mailbox.waiters) == len(reactor.suspended) == 1
    with unraisable() as raised, within_the_transport(gc.collect):
        cycle = [task]
        cycle.append(cycle)
        del task, cycle
        other.send(1).block()
    while mailbox.waiters or reactor.suspended:
        time.sleep(0.001)
    assert raised == []
    sender.send("not for the task").block()
    assert receiver.recv().block() == "not for the task"
    sender.close()
    other.close()
    gone(child)


if __name__ == "__main__":
    main()
