from __future__ import annotations

import hashlib
import random
from collections import deque
from dataclasses import dataclass, field

import msgspec
import pytest
import trees
from hypothesis import example, given
from hypothesis import strategies as st

from constellation.program.errors import TransferError
from constellation.program.manifest import File, Manifest, order
from constellation.program.receiving import BlobReceiver, Complete, Step, Write
from constellation.program.sending import BlobSender, Read
from constellation.program.transfer import (
    ATTEMPTS,
    CHUNK,
    Chunk,
    Done,
    Failed,
    Progress,
    Room,
    ToReceiver,
    ToSender,
    Want,
    decode_for_receiver,
    decode_for_sender,
)

WINDOW, PART = 40, 10  # so that little content takes many chunks

Contents = dict[bytes, bytes]


def program(*contents: bytes) -> tuple[Manifest, Contents]:
    files = [trees.file(f"f{number:02}", content) for number, content in enumerate(contents)]
    manifest = Manifest(tuple(sorted(files, key=lambda file: order(file.path))), module="x")
    return manifest, {hashlib.sha256(content).digest(): content for content in contents}


def sender_of(manifest: Manifest) -> BlobSender:
    return BlobSender(manifest, window=WINDOW, chunk=PART)


@dataclass
class Disk:
    """What the receiver's owner does with its steps, in place of a store."""

    receiver: BlobReceiver
    writing: dict[bytes, bytearray] = field(default_factory=dict)
    kept: Contents = field(default_factory=dict)
    said: deque[ToSender] = field(default_factory=deque)

    def take(self, steps: list[Step]) -> None:
        for step in steps:
            match step:
                case Write(file, data):
                    written = self.writing.setdefault(file.sha256, bytearray())
                    written += data
                    assert len(written) <= file.size
                case Complete(file):
                    content = bytes(self.writing.pop(file.sha256, b""))
                    if hashlib.sha256(content).digest() == file.sha256:
                        assert file.sha256 not in self.kept
                        self.kept[file.sha256] = content
                        self.take(self.receiver.kept(file))
                    else:
                        self.take(self.receiver.spoiled(file))
                case message:
                    self.said.append(message)


def send_all(sender: BlobSender, contents: Contents) -> list[ToReceiver]:
    """What the sender sends until it has to wait."""
    sent: list[ToReceiver] = []
    while read := sender.next():
        data = contents[read.file.sha256][read.offset : read.offset + read.size]
        message = sender.loaded(read, data)
        assert message is not None
        sent.append(message)
    return sent


def run(receiver: BlobReceiver, sender: BlobSender, contents: Contents) -> Disk:
    """All of a transfer on a network where nothing goes wrong."""
    disk = Disk(receiver)
    disk.take(receiver.ask())
    while disk.said:
        sender.receive(decode_for_sender(msgspec.msgpack.encode(disk.said.popleft())))
        for message in send_all(sender, contents):
            disk.take(receiver.receive(decode_for_receiver(msgspec.msgpack.encode(message))))
    return disk


def test_all_that_is_missing_comes() -> None:
    manifest, contents = program(b"a" * 95, b"", b"b" * 10, b"c", b"c", bytes(300))
    receiver, sender = BlobReceiver(manifest.blobs.values(), window=WINDOW), sender_of(manifest)
    disk = run(receiver, sender, contents)
    assert disk.kept == contents
    assert receiver.done
    assert sender.done
    assert receiver.progress == sender.progress == Progress(406, 406)


def test_only_what_is_missing_comes_in_the_order_asked() -> None:
    manifest, contents = program(b"a", b"b", b"c")
    a, _, c = manifest.files
    receiver, sender = BlobReceiver([c, a]), sender_of(manifest)
    assert receiver.ask() == [Want(1, 0, (c.sha256, a.sha256))]
    sender.receive(Want(1, 0, (c.sha256, a.sha256)))
    assert send_all(sender, contents) == [Chunk(1, 0, b"c"), Chunk(1, 1, b"a")]


def test_where_nothing_is_missing_nothing_is_sent() -> None:
    manifest, contents = program(b"a", b"")
    sender = sender_of(manifest)
    receiver = BlobReceiver([])
    assert receiver.ask() == [Done(1)]
    sender.receive(Done(1))
    assert sender.done
    assert sender.progress == Progress(0, 0)
    empty = BlobReceiver([manifest.files[1]])
    assert run(empty, sender_of(manifest), contents).kept == {manifest.files[1].sha256: b""}


def test_a_chunk_has_a_quarter_of_a_mebibyte() -> None:
    manifest, contents = program(bytes(3 * CHUNK + 1))
    sender = BlobSender(manifest)
    sender.receive(Want(1, 0, tuple(contents)))
    sizes = [len(chunk.data) for chunk in send_all(sender, contents) if type(chunk) is Chunk]
    assert sizes == [CHUNK, CHUNK, CHUNK, 1]


def test_the_sender_is_no_window_ahead() -> None:
    manifest, contents = program(bytes(100))
    sender = sender_of(manifest)
    sender.receive(Want(1, 0, tuple(contents)))
    assert len(send_all(sender, contents)) == 4
    assert sender.progress == Progress(40, 100)
    sender.receive(Room(1, 15))
    assert len(send_all(sender, contents)) == 1
    sender.receive(Room(1, 5))  # it was late
    assert sender.next() is None
    sender.receive(Room(1, 40))
    assert len(send_all(sender, contents)) == 3


def test_the_receiver_tells_after_half_a_window() -> None:
    manifest, _ = program(bytes(100))
    receiver = BlobReceiver(manifest.files, window=WINDOW)
    receiver.ask()
    steps = [receiver.receive(Chunk(1, at, bytes(10)))[1:] for at in range(0, 100, 10)]
    rooms = [step for some in steps for step in some if type(step) is Room]
    assert rooms == [Room(1, 20), Room(1, 40), Room(1, 60), Room(1, 80)]


# -- cuts -----------------------------------------------------------------------------------------


def test_after_a_cut_the_rest_comes() -> None:
    manifest, contents = program(b"a" * 15, b"b" * 35, b"c" * 5)
    receiver, sender = BlobReceiver(manifest.files, window=WINDOW), sender_of(manifest)
    disk = Disk(receiver)
    disk.take(receiver.ask())
    sender.receive(disk.said.popleft())
    stale = send_all(sender, contents)
    for message in stale[:3]:
        disk.take(receiver.receive(message))
    assert receiver.progress == Progress(25, 55)
    disk.said.clear()
    disk.take(receiver.ask())
    assert receiver.progress == Progress(25, 55)
    b, c = manifest.files[1:]
    want = disk.said.popleft()
    assert want == Want(2, 10, (b.sha256, c.sha256))
    for message in stale[3:]:
        assert receiver.receive(message) == []
    sender.receive(want)
    sender.receive(Room(1, 20))  # of what was before the cut
    assert sender.progress == Progress(25, 55)
    for message in send_all(sender, contents):
        disk.take(receiver.receive(message))
    assert disk.kept == contents


def test_a_new_sender_goes_on_in_the_middle_of_a_blob() -> None:
    manifest, contents = program(b"a" * 35)
    sender = sender_of(manifest)
    sender.receive(Want(9, 12, tuple(contents)))
    assert send_all(sender, contents) == [
        Chunk(9, 12, b"a" * 10),
        Chunk(9, 22, b"a" * 10),
        Chunk(9, 32, b"a" * 3),
    ]
    assert sender.progress == Progress(23, 23)


def test_what_was_read_for_another_request_is_not_sent() -> None:
    manifest, contents = program(b"a" * 35)
    sender = sender_of(manifest)
    sender.receive(Want(1, 0, tuple(contents)))
    read = sender.next()
    assert read is not None
    assert sender.next() is read
    sender.receive(Want(2, 0, tuple(contents)))
    assert sender.loaded(read, b"a" * 10) is None
    assert send_all(sender, contents)[0] == Chunk(2, 0, b"a" * 10)


def test_a_chunk_that_is_lost_is_asked_for_again() -> None:
    manifest, _ = program(b"a" * 35)
    (file,) = manifest.files
    receiver = BlobReceiver([file])
    receiver.ask()
    assert receiver.receive(Chunk(1, 0, b"a" * 10)) == [Write(file, b"a" * 10)]
    assert receiver.receive(Chunk(1, 20, b"a" * 10)) == [Want(2, 10, (file.sha256,))]
    assert receiver.receive(Chunk(1, 10, b"a" * 10)) == []
    assert receiver.receive(Chunk(2, 10, b"a" * 10)) == [Write(file, b"a" * 10)]
    assert receiver.receive(Chunk(2, 10, b"a" * 10)) == []


def test_a_loss_of_the_end_is_told_again() -> None:
    manifest, contents = program(b"a")
    receiver = BlobReceiver(manifest.files)
    run(receiver, sender_of(manifest), contents)
    assert receiver.ask() == [Done(2)]


# -- content that is wrong ------------------------------------------------------------------------


@pytest.mark.parametrize("changed", [b"a" * 15, b"a" * 20 + b"!"])
def test_a_file_that_changed_is_not_sent_to_its_end(changed: bytes) -> None:
    manifest, contents = program(b"a" * 21)
    sender = sender_of(manifest)
    sender.receive(Want(1, 0, tuple(contents)))
    sent = send_all(sender, dict.fromkeys(contents, changed))
    reason = "f00 has changed since it was looked at; deploy it again"
    assert sent[-1] == Failed(1, reason)
    assert sender.next() is None
    assert not sender.done
    receiver = BlobReceiver(manifest.files)
    receiver.ask()
    with pytest.raises(TransferError, match=f"the other side cannot send the program: {reason}"):
        receiver.receive(Failed(1, reason))
    # That was lost, and it is asked again.
    sender.receive(Want(2, 0, tuple(contents)))
    assert send_all(sender, dict.fromkeys(contents, changed))[-1] == Failed(2, reason)
    assert sender.failed("x") == Failed(2, "x")


def test_what_comes_damaged_is_asked_for_again_when_the_rest_is_there() -> None:
    manifest, _ = program(b"a" * 10, b"b" * 10)
    a, b = manifest.files
    disk = Disk(BlobReceiver(manifest.files))
    disk.take(disk.receiver.ask())
    disk.take(disk.receiver.receive(Chunk(1, 0, b"!" * 10)))
    assert disk.receiver.progress == Progress(0, 20)
    disk.take(disk.receiver.receive(Chunk(1, 10, b"b" * 10)))
    assert list(disk.said) == [Want(1, 0, (a.sha256, b.sha256)), Want(2, 0, (a.sha256,))]
    disk.take(disk.receiver.receive(Chunk(2, 0, b"a" * 10)))
    assert disk.said[-1] == Done(2)


def test_what_comes_damaged_again_and_again_is_given_up() -> None:
    manifest, _ = program(b"a" * 10)
    disk = Disk(BlobReceiver(manifest.files))
    disk.take(disk.receiver.ask())
    for number in range(1, ATTEMPTS):
        disk.take(disk.receiver.receive(Chunk(number, 0, b"!" * 10)))
    with pytest.raises(TransferError, match="f00 came 3 times, and never was what it should be"):
        disk.take(disk.receiver.receive(Chunk(ATTEMPTS, 0, b"!" * 10)))


# -- what may not be ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chunk", "reason"),
    [
        (Chunk(2, 0, b"a"), "answers request 2; the last one was 1"),
        (Chunk(1, 10, b"a" * 26), "goes over the end of f00"),
        (Chunk(1, 5, b"a" * 10), "10 bytes at 5, some of which came before"),
    ],
)
def test_a_sender_that_sends_what_it_may_not(chunk: Chunk, reason: str) -> None:
    manifest, _ = program(b"a" * 35)
    receiver = BlobReceiver(manifest.files)
    receiver.ask()
    receiver.receive(Chunk(1, 0, b"a" * 10))
    for _ in range(2):
        with pytest.raises(TransferError, match=reason):
            receiver.receive(chunk)
    assert receiver.progress == Progress(10, 35)
    receiver.receive(Chunk(1, 10, b"a" * 25))
    with pytest.raises(TransferError, match="goes over the end of everything"):
        receiver.receive(Chunk(1, 35, b"a"))


def test_a_receiver_that_asks_for_what_it_may_not() -> None:
    manifest, contents = program(b"a" * 35, b"")
    a, empty = manifest.files
    sender = sender_of(manifest)
    sender.receive(Want(1, 0, (a.sha256,)))
    send_all(sender, contents)
    for message, reason in [
        (Want(2, 0, (b"?" * 32,)), "not of this program"),
        (Want(2, 0, (a.sha256, a.sha256)), "the same content twice"),
        (Want(2, 35, (a.sha256,)), "has 35 bytes of what has no more than that"),
        (Want(2, 1, (empty.sha256,)), "has 1 bytes of what has no more"),
        (Want(2, 1, ()), "has 1 bytes of what has no more"),
        (Room(1, 36), "has received 36 bytes of request 1; 35 of 1 were sent"),
        (Room(2, 0), "has received 0 bytes of request 2; 35 of 1 were sent"),
    ]:
        with pytest.raises(TransferError, match=reason):
            sender.receive(message)
        assert sender.progress == Progress(35, 35)
    sender.receive(Want(2, 0, (empty.sha256, a.sha256)))
    assert send_all(sender, contents)[0] == Chunk(2, 0, b"a" * 10)


MESSAGES = [Want(1, 2, (bytes(32),)), Room(1, 2), Done(1), Chunk(1, 2, b"x"), Failed(1, "no")]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_messages_survive_the_wire(message: ToSender | ToReceiver) -> None:
    data = msgspec.msgpack.encode(message)
    to_sender = isinstance(message, Want | Room | Done)
    right, wrong = decode_for_sender, decode_for_receiver
    if not to_sender:
        right, wrong = wrong, right  # type: ignore[assignment]
    assert right(data) == message
    with pytest.raises(TransferError):
        wrong(data)


@given(
    data=st.one_of(
        st.binary(max_size=50),
        st.tuples(
            st.sampled_from(["Want", "Room", "Done", "Chunk", "Failed", "x"]),
            st.integers(-1, 2**64 - 1),
            st.integers(-1, 2),
            st.one_of(st.binary(max_size=2), st.lists(st.just(bytes(32)), max_size=2)),
        ).map(msgspec.msgpack.encode),
    )
)
@example(data=msgspec.msgpack.encode(Chunk(1, 0, b"")))
@example(data=msgspec.msgpack.encode(Chunk(1, 0, bytes(CHUNK + 1))))
def test_any_bytes_are_a_message_or_the_one_error(data: bytes) -> None:
    for decode in (decode_for_sender, decode_for_receiver):
        try:
            message = decode(data)
        except TransferError:
            continue
        assert message.transfer >= 0
        assert not isinstance(message, Chunk) or 0 < len(message.data) <= CHUNK


# -- a network where everything goes wrong --------------------------------------------------------


class Network:
    """Two ends, and a network between them that loses, repeats, reorders, damages and cuts."""

    def __init__(self, manifest: Manifest, contents: Contents, missing: list[File], seed: int):
        self.random = random.Random(seed)
        self.manifest, self.contents = manifest, contents
        self.receiver = BlobReceiver(missing, window=WINDOW)
        self.disk = Disk(self.receiver)
        self.sender = sender_of(manifest)
        self.to_sender: list[ToSender] = []
        self.to_receiver: list[ToReceiver] = []
        self.reading: Read | None = None
        self.damages = 0

    def step(self, trouble: float) -> None:
        self.to_sender += self.disk.said
        self.disk.said.clear()
        choice = self.random.randrange(4)
        bad = self.random.random() < trouble
        if choice == 0 and self.to_sender:
            self.sender.receive(self.pick(self.to_sender, bad))
        elif choice == 1 and self.to_receiver:
            self.disk.take(self.receiver.receive(self.pick(self.to_receiver, bad)))
        elif choice == 2:
            self.send()
        elif choice == 3 and bad:
            self.cut()
        ahead = self.sender._position - self.sender._received
        assert ahead <= WINDOW
        assert self.receiver.progress.done <= self.receiver.progress.total

    def pick(self, queue: list, bad: bool):  # type: ignore[no-untyped-def, type-arg]
        index = self.random.randrange(len(queue)) if bad else 0
        message = queue[index]
        if not bad or self.random.random() < 0.5:  # else it comes again
            del queue[index]
        if bad and self.random.random() < 0.2 and type(message) is Chunk and not self.damages:
            self.damages += 1
            return msgspec.structs.replace(message, data=bytes(len(message.data)))
        return message

    def send(self) -> None:
        # Reading takes time, in which messages arrive.
        if self.reading is None:
            self.reading = self.sender.next()
            return
        read, self.reading = self.reading, None
        data = self.contents[read.file.sha256][read.offset : read.offset + read.size]
        message = self.sender.loaded(read, data)
        if message is not None:
            self.to_receiver.append(message)

    def cut(self) -> None:
        for queue in (self.to_sender, self.to_receiver):
            del queue[self.random.randrange(len(queue) + 1) :]
        if self.random.random() < 0.3:  # the other end is started again
            self.to_sender.clear()
            self.to_receiver.clear()
            self.sender, self.reading = sender_of(self.manifest), None
        self.disk.take(self.receiver.ask())

    def settle(self) -> None:
        """Nothing goes wrong any more; a silence is noticed."""
        for _ in range(20):
            self.disk.take(self.receiver.ask())
            for _ in range(2000):
                self.step(0.0)
                if self.receiver.done and self.sender.done:
                    return
        raise AssertionError("the transfer does not come to its end")


@given(
    sizes=st.lists(st.sampled_from([0, 1, 9, 10, 11, 35, 120]), min_size=1, max_size=6),
    there=st.integers(0, 5),
    seed=st.integers(0, 2**16),
    trouble=st.sampled_from([0.05, 0.3, 0.8]),
)
def test_whatever_happens_all_that_is_missing_comes_in_the_end(
    sizes: list[int], there: int, seed: int, trouble: float
) -> None:
    noise = random.Random(seed)
    manifest, contents = program(*(noise.randbytes(size) for size in sizes))
    missing = list(manifest.blobs.values())[min(there, len(manifest.blobs) - 1) :]
    network = Network(manifest, contents, missing, seed)
    network.disk.take(network.receiver.ask())
    for _ in range(300):
        network.step(trouble)
    network.settle()
    assert network.disk.kept == {file.sha256: contents[file.sha256] for file in missing}
    assert network.disk.writing == {}
    total = sum(file.size for file in missing)
    assert network.receiver.progress == Progress(total, total)
