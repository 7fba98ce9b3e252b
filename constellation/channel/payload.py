"""Values, and calls of new processes, to the parts of messages and back.

docs/pickling.md says what travels how.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from constellation.channel import captures, culprit
from constellation.channel.decoder import Decoder, Undecodable
from constellation.channel.encoder import Encoder
from constellation.channel.layout import Buffer
from constellation.errors import SerializationError
from constellation.wire.fragments import Part

if TYPE_CHECKING:
    from constellation.channel.byvalue import ImageRecord

__all__ = ["Buffer", "Decoder", "Encoder", "Part", "Undecodable", "dump_call", "load_call"]


def dump_call(
    image: ImageRecord | None,
    start: Callable[..., object],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> list[Part]:
    """What is to be called in a new process, as the parts of a message.

    Warns where the variables that it captures make it large.

    Raises:
        SerializationError: Something in it cannot be pickled; the text names the path to it.
    """
    encoder = Encoder("pickle", image, spawning=True)
    try:
        size = encoder.add((start, args, kwargs))
    except SerializationError as error:
        cause = error.__cause__
    else:
        captures.warn_if_large(start, size, image)
        return encoder.take()[0]
    assert isinstance(cause, Exception)
    try:
        raise culprit.uncallable(start, args, kwargs, cause, image) from cause
    finally:
        del cause  # it refers to this frame, and that to the caller's, who may drop a Sender


def load_call(
    parts: list[Buffer], image: ImageRecord | None
) -> tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]]:
    """What `dump_call` made.

    Raises:
        SerializationError: It cannot be unpickled here.
    """
    (call,) = Decoder(image).decode(parts, 1, "pickle")
    if isinstance(call, Undecodable):
        raise call.error
    start, args, kwargs = call
    return start, args, kwargs
