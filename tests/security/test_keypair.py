from __future__ import annotations

import copy
import os
import pickle
import socket
import threading

import pytest
import zmq

from constellation.security.keypair import Keypair, receive_key, send_key


def test_a_new_one_is_of_libzmq_and_nobody_else_has_it() -> None:
    made = Keypair.new()
    assert zmq.curve_public(made.secret) == made.public
    assert made != Keypair.new()
    assert len(made.public_bytes) == 32


def test_they_are_values() -> None:
    made = Keypair.new()
    again = Keypair(made.public, made.secret)
    assert again == made
    assert hash(again) == hash(made)
    assert made != made.public
    with pytest.raises(AttributeError):
        made.secret = b"x" * 40
    with pytest.raises(AttributeError):
        del made.secret
    with pytest.raises(AttributeError):
        made.other = 1  # type: ignore[attr-defined]


def test_it_is_never_shown() -> None:
    made = Keypair.new()
    shown = f"{made} {made!r} {[made]} {made.fingerprint}"
    assert made.public.decode() not in shown
    assert made.secret.decode() not in shown
    assert made.fingerprint in repr(made)
    assert made.fingerprint != Keypair.new().fingerprint
    assert len(made.fingerprint) == 16


def test_it_does_not_pickle_and_says_how_it_travels() -> None:
    with pytest.raises(TypeError, match="send_key"):
        pickle.dumps(Keypair.new())
    with pytest.raises(TypeError):
        copy.deepcopy(Keypair.new())


GOOD = Keypair.new()


@pytest.mark.parametrize(
    ("public", "secret"),
    [
        (GOOD.public, Keypair.new().secret),
        (GOOD.secret, GOOD.public),
        (GOOD.public[:-1], GOOD.secret),
        (GOOD.public, GOOD.secret + b"0"),
        (GOOD.public, b""),
        (GOOD.public, b"~" * 40),
        (b"\xff" * 40, GOOD.secret),
        (b"#" * 40, GOOD.secret),
        (GOOD.public, b"#" * 40),
        (GOOD.public.decode(), GOOD.secret),
        (GOOD.public, None),
    ],
)
def test_what_is_none_is_an_error_that_shows_nothing_of_it(public: bytes, secret: bytes) -> None:
    with pytest.raises(ValueError, match="key") as caught:
        Keypair(public, secret)
    told = repr(caught.value)
    for key in (GOOD.public, GOOD.secret):
        assert key.decode()[:8] not in told


def test_it_is_handed_over_by_a_pipe() -> None:
    reading, writing = os.pipe()
    try:
        send_key(writing, GOOD)
        os.write(writing, b"more")
        assert receive_key(reading) == GOOD
        assert os.read(reading, 100) == b"more"
    finally:
        os.close(reading)
        os.close(writing)


def test_it_may_come_in_pieces() -> None:
    reading, writing = os.pipe()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        send_key(writing, GOOD)
        data = os.read(reading, 1000)
        os.close(reading)
        os.close(writing)

        def trickle() -> None:
            for byte in data:
                theirs.send(bytes([byte]))

        writer = threading.Thread(target=trickle)
        writer.start()
        assert receive_key(ours.fileno()) == GOOD
        writer.join()


@pytest.mark.parametrize("size", [0, 1, 24, 103])
def test_an_end_before_it_is_complete(size: int) -> None:
    reading, writing = os.pipe()
    send_key(writing, GOOD)
    data = os.read(reading, 1000)
    os.write(writing, data[:size])
    os.close(writing)
    try:
        with pytest.raises(EOFError, match=rf"ended after {size} of the 104 bytes"):
            receive_key(reading)
    finally:
        os.close(reading)


@pytest.mark.parametrize("data", [b"x", b"constellation-keypair-2\n" + b"0" * 80])
def test_something_else_over_the_descriptor(data: bytes) -> None:
    reading, writing = os.pipe()
    try:
        os.write(writing, data)
        with pytest.raises(ValueError, match="is no key"):
            receive_key(reading)
    finally:
        os.close(reading)
        os.close(writing)


def test_nobody_to_hand_it_to() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        with pytest.raises(BrokenPipeError):
            send_key(writing, GOOD)
    finally:
        os.close(writing)
