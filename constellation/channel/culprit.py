"""Finds what in a value cannot be encoded, and where: `args[0].cfg.lock`.

Runs only after a failure. The value is walked from the top: of the things that the encoder would
visit next, the first that fails by itself is entered, until nothing below fails. What was entered
already is treated as if it could be encoded, so cycles end. Which child fails is found by halving,
so each level costs about one more encoding of what is left.
"""

from __future__ import annotations

import copyreg
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from functools import partial
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any

from constellation.channel.byvalue import ImageRecord, captured
from constellation.channel.pickling import ImagePickler, make_exception
from constellation.errors import SerializationError

Step = tuple[str, object]
"""How something is reached from what holds it (`.lock`, `[2]`), and what it is."""

# Deeper than this nobody reads a path.
_MAX_DEPTH = 100


class _Probe(ImagePickler):
    """Pickles to nowhere. What was entered counts as picklable."""

    def __init__(self, image: ImageRecord | None, *, spawning: bool) -> None:
        super().__init__(self, image, buffer_callback=_out_of_band, spawning=spawning)
        self.entered: dict[int, object] = {}

    def write(self, data: object) -> None:
        """Takes bytes of the pickle, and drops them."""

    def persistent_id(self, obj: object) -> str | None:
        """Leaves out what was entered already."""
        return "" if id(obj) in self.entered else None

    def attempt(self, value: object) -> None:
        """Pickles a value."""
        try:
            self.dump(value)
        finally:
            self.clear_memo()

    def enter(self, value: object) -> None:
        """Counts a value as picklable from now on, and keeps it alive, so that its id stays its."""
        self.entered[id(value)] = value

    def children(self, value: Any) -> Iterator[Step]:
        """What pickling a value would pickle next."""
        kind = type(value)
        if kind is FunctionType:
            yield from self._function(value)
        elif kind is MethodType:
            yield ".__func__", value.__func__
            yield ".__self__", value.__self__
        elif kind is CellType:
            yield "", value.cell_contents
        elif kind is partial:
            yield ".func", value.func
            yield from _children_of_container(value.args, ".args")
            yield from _children_of_container(value.keywords, ".keywords")
        elif kind in (staticmethod, classmethod):
            yield ".__func__", value.__func__
        elif kind is property:
            yield from ((f".{n}", getattr(value, n)) for n in ("fget", "fset", "fdel"))
        elif kind in (list, tuple, dict, set, frozenset):
            yield from _children_of_container(value)
        elif kind.__name__ == "ndarray" and hasattr(value, "tolist"):
            yield from _children_of_container(value.tolist())
        elif issubclass(kind, type) or kind is ModuleType:
            yield from ((f".{name}", member) for name, member in list(vars(value).items()))
        else:
            yield from _children_of_reduction(value, self._reduce(value))

    def _function(self, function: FunctionType) -> Iterator[Step]:
        for name, value in captured(function).items():
            yield f".{name}", value
        if self._functions is not None:
            for name, value in self._functions.globals_of(function)[1].items():
                yield f".{name}", value
        yield from _children_of_container(function.__defaults__ or (), ".__defaults__")
        yield from _children_of_container(function.__kwdefaults__ or {}, ".__kwdefaults__")
        yield from ((f".{name}", value) for name, value in vars(function).items())

    def _reduce(self, value: Any) -> Any:
        reduced = self.reducer_override(value)
        if reduced is NotImplemented:
            reducer = self.dispatch_table.get(type(value))
            reduced = value.__reduce_ex__(5) if reducer is None else reducer(value)
        return reduced


def unpicklable(
    roots: Sequence[Step], error: Exception, image: ImageRecord | None, *, spawning: bool = False
) -> SerializationError:
    """Explains why values could not be pickled.

    Args:
        roots: The values, with what to call them.
        error: What pickling them raised.
        image: The program image.
        spawning: As for `ImagePickler`.

    Returns:
        The error to raise, with its cause set.
    """
    probe = _Probe(image, spawning=spawning)
    try:
        return _explain(roots, error, probe.attempt, probe.children, probe.enter)
    finally:
        probe.entered.clear()  # a pickler that writes to itself stays until it is collected


def uncallable(
    start: Callable[..., object],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    error: Exception,
    image: ImageRecord | None,
) -> SerializationError:
    """Explains why a call of a new process could not be pickled."""
    roots: list[Step] = []
    if type(start) is partial:
        roots += [(f"partial.args[{index}]", value) for index, value in enumerate(start.args)]
        roots += [(f"partial.keywords[{name!r}]", v) for name, v in start.keywords.items()]
        start = start.func
    roots.append((call_name(start), start))
    roots += [(f"args[{index}]", value) for index, value in enumerate(args)]
    roots += [(f"kwargs[{name!r}]", value) for name, value in kwargs.items()]
    return unpicklable(roots, error, image, spawning=True)


def call_name(start: Callable[..., object]) -> str:
    """What people call a callable: its name, without where it was defined."""
    name = getattr(start, "__name__", None)
    return name if isinstance(name, str) else type(start).__name__


def unencodable(
    value: object, error: Exception, encode: Callable[[object], object]
) -> SerializationError:
    """Explains why a value could not be encoded as JSON or MessagePack."""
    return _explain([("value", value)], error, encode, _children_of_data, lambda _: None)


def _explain(
    roots: Sequence[Step],
    error: Exception,
    attempt: Callable[[object], object],
    children: Callable[[object], Iterator[Step]],
    enter: Callable[[object], None],
) -> SerializationError:
    path, culprit = roots[0] if len(roots) == 1 else ("", None)
    steps: Sequence[Step] = roots
    failure: Exception | None = None
    for _ in range(_MAX_DEPTH):
        step, failure = _first_failing(steps, attempt)
        if failure is None:
            break
        path, culprit, error = path + step[0] if steps is not roots else step[0], step[1], failure
        if isinstance(error, RecursionError):
            break
        enter(culprit)
        try:
            steps = list(children(culprit))
        except Exception as raised:  # noqa: BLE001 - its own reduction is code of the user's
            error = raised
            break
    try:
        return _caused(SerializationError(path, _reason(culprit, error)), error)
    finally:
        # They refer to the frames of this call and its callers. In a cycle these would stay, and
        # with them the Sender that a caller drops.
        del error, failure


def _caused(error: SerializationError, cause: Exception) -> SerializationError:
    error.__cause__ = cause
    return error


def _first_failing(
    steps: Sequence[Step], attempt: Callable[[object], object]
) -> tuple[Step, Exception | None]:
    """The first step whose value fails by itself, and how."""
    while len(steps) > 1:
        half = len(steps) // 2
        fails = _failure([value for _, value in steps[:half]], attempt) is not None
        steps = steps[:half] if fails else steps[half:]
    if not steps:
        return ("", None), None
    return steps[0], _failure(steps[0][1], attempt)


def _failure(value: object, attempt: Callable[[object], object]) -> Exception | None:
    try:
        attempt(value)
    except Exception as error:  # noqa: BLE001 - reductions are code of the user's
        return error
    return None


def _reason(culprit: object, error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply to be encoded"
    text = str(error)
    if isinstance(error, pickle.PicklingError) or text.lower().startswith(("cannot ", "can't ")):
        return text
    return f"cannot encode {type(culprit).__qualname__!r} object: {type(error).__name__}: {text}"


def _out_of_band(_: pickle.PickleBuffer) -> bool:
    return False


# -- what is in things


def _children_of_container(value: Any, prefix: str = "") -> Iterator[Step]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"{prefix}[{_short(key)}]", item
        for index, key in enumerate(value):
            yield f"{prefix}.keys()[{index}]", key
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        names = value._fields
        yield from ((f"{prefix}.{name}", item) for name, item in zip(names, value, strict=True))
    elif isinstance(value, list | tuple):
        yield from ((f"{prefix}[{index}]", item) for index, item in enumerate(value))
    else:
        yield from ((f"{prefix}{{{_short(item)}}}", item) for item in value)


def _children_of_reduction(value: Any, reduced: Any) -> Iterator[Step]:
    if not isinstance(reduced, tuple):
        return  # a name
    make, arguments, state, items, pairs = (*reduced, None, None, None, None)[:5]
    if make is copyreg.__newobj__:  # type: ignore[attr-defined]
        yield ".__class__", arguments[0]
        arguments = arguments[1:]
    if make is make_exception:
        yield ".__class__", arguments[0]
        yield from _children_of_container(value.args, ".args")
    elif isinstance(value, tuple):
        yield from _children_of_container(value)
    elif isinstance(value, BaseException) and arguments is value.args:
        yield from _children_of_container(arguments, ".args")
    else:
        yield from _children_of_container(arguments, ".__reduce_ex__(5)[1]")
    slots = None
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict):
        state, slots = state
    for part in (state, slots):
        if isinstance(part, dict):
            yield from ((f".{name}", item) for name, item in part.items())
        elif part is not None:
            yield ".__reduce_ex__(5)[2]", part
    yield from ((f"[{index}]", item) for index, item in enumerate(items or ()))
    yield from ((f"[{_short(key)}]", item) for key, item in pairs or ())


def _children_of_data(value: Any) -> Iterator[Step]:
    if isinstance(value, dict | list | tuple | set | frozenset):
        yield from _children_of_container(value)
    else:
        yield from ((f".{name}", getattr(value, name)) for name in _field_names(value))


def _field_names(value: Any) -> Iterable[str]:
    if is_dataclass(value) and not isinstance(value, type):
        return [field.name for field in fields(value)]
    return getattr(value, "__struct_fields__", ())


def _short(key: object) -> str:
    text = repr(key)
    return text if len(text) <= 40 else f"{text[:37]}..."
