"""A program in two processes, as far as pickling can tell: two `__main__`s from one source."""

from __future__ import annotations

import contextlib
import sys
import textwrap
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from constellation.channel.payload import Decoder, Encoder, Undecodable, dump_call, load_call
from constellation.process.image import Image


class Side:
    """One of the two processes.

    Attributes:
        names: Its `__main__`.
        image: Its program image.
    """

    def __init__(self, source: str) -> None:
        self.names: Any = ModuleType("__main__")
        with self.active():
            self.run(source)
            self.image = Image.capture()

    def run(self, source: str) -> None:
        with self.active():
            code = compile(textwrap.dedent(source), "program.py", "exec", dont_inherit=True)
            exec(code, vars(self.names))

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "__main__", self.names)
            yield


class Program:
    """Both, after `init()`."""

    def __init__(self, source: str) -> None:
        self.here = Side(source)
        self.there = Side(source)

    def later(self, source: str) -> Any:
        """Runs more of the program on this side, and gives its `__main__`."""
        self.here.run(source)
        return self.here.names

    def send(self, value: object) -> Any:
        """A value that went over a channel; raises what `send` or `recv` would."""
        encoder = Encoder("pickle", self.here.image)
        with self.here.active():
            encoder.add(value)
            parts, count = encoder.take()
        with self.there.active():
            (received,) = Decoder(self.there.image).decode(parts, count, "pickle")
        if isinstance(received, Undecodable):
            raise received.error
        return received

    def spawn(self, start: Callable[..., Any], *args: object, **kwargs: object) -> Any:
        """What a spawned function returns."""
        with self.here.active():
            parts = dump_call(self.here.image, start, args, kwargs)
        with self.there.active():
            function, args, kwargs = load_call(parts, self.there.image)
            return function(*args, **kwargs)
