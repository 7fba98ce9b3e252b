"""Operations by themselves: starting, `select`, `join`, the warning, around toy operations."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import subprocess
import sys
import threading
import warnings
import weakref
from collections import Counter, deque
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from constellation.deadline import Deadline
from constellation.errors import ChannelError
from constellation.operation import Operation, Waiter, join, select


class Flag:
    """A waiter of the tests. As a thread's it refers to what it waits for."""

    def __init__(self, operation: Operation[Any]) -> None:
        self.operation = operation
        self.event = threading.Event()

    def notify(self) -> None:
        self.event.set()


class Source:
    """What toys are taken from; an exception among the values is raised. It waits, too."""

    def __init__(self, *values: object) -> None:
        self.values = deque(values)
        self.waiters: list[Waiter] = []
        self.abandoned = 0
        self.on_wait: Any = lambda: None

    def take(self) -> Toy:
        return Toy(self)

    def add(self, value: object) -> None:
        self.values.append(value)
        for waiter in self.waiters:
            waiter.notify()

    def wait_blocking(self, operation: Operation[Any], deadline: Deadline) -> bool:
        flag = Flag(operation)
        operation._enlist(flag)
        done = False
        try:
            while not done:
                flag.event.clear()
                done = operation._attempt()
                if not done:
                    self.on_wait()
                    if not flag.event.wait(deadline.remaining()):
                        break
        finally:
            operation._delist(flag)
            if not done:
                operation._abandon()
        return done

    def wait_async(self, operation: Operation[Any]) -> Generator[asyncio.Future[None], None, None]:
        done = False
        try:
            while not done:
                done = operation._attempt()
                if not done:
                    yield from asyncio.sleep(0).__await__()
        finally:
            if not done:
                operation._abandon()


class Toy(Operation[Any]):
    """Takes the next value of a source."""

    __slots__ = ("_value", "source")

    def __init__(self, source: Source) -> None:
        self.source = source
        self._value: object = None
        self._make(2)

    def _describe(self) -> str:
        return "take()"

    def _waits(self) -> Source:
        return self.source

    def _attempt(self) -> bool:
        if not self.source.values:
            return False
        self._value = self.source.values.popleft()
        if isinstance(self._value, Exception):
            raise self._value
        return True

    def _enlist(self, waiter: Waiter) -> bool:
        self.source.waiters.append(waiter)
        return True

    def _delist(self, waiter: Waiter) -> None:
        self.source.waiters.remove(waiter)

    def _undo(self) -> bool:
        self.source.values.appendleft(self._value)
        return True

    def _abandon(self) -> None:
        self.source.abandoned += 1

    def _queue(self) -> object:
        return self.source


class Final(Toy):
    """One that cannot be undone, as a send."""

    __slots__ = ()

    def _undo(self) -> bool:
        return False


# -- starting


def test_an_operation_does_nothing_until_it_is_started() -> None:
    source = Source(1)
    operation = source.take()
    assert list(source.values) == [1]
    assert operation.block() == 1


@pytest.mark.parametrize(
    "again",
    [
        lambda operation: operation.block(),
        lambda operation: next(operation.__await__()),
        lambda operation: select(operation).block(),
        lambda operation: join(operation).block(),
    ],
    ids=["block", "await", "select", "join"],
)
def test_an_operation_runs_once(again: Any) -> None:
    source = Source(1, 2)
    operation = source.take()
    operation.block()
    with pytest.raises(RuntimeError, match=r"take\(\) was already started: an operation runs once"):
        again(operation)
    assert list(source.values) == [2]


def test_one_that_timed_out_was_started_too() -> None:
    operation = Source().take()
    with pytest.raises(TimeoutError, match=r"take\(\) did not complete within 0.01 seconds"):
        operation.block(timeout=0.01)
    with pytest.raises(RuntimeError, match="already started"):
        operation.block()


def test_a_select_with_one_that_ran_starts_none_of_the_others() -> None:
    source = Source(1, 2)
    ran, fresh = source.take(), source.take()
    ran.block()
    with pytest.raises(RuntimeError, match="already started"):
        select(fresh, ran).block()
    assert fresh.block() == 2


def test_no_timeout_is_too_long_and_none_too_short() -> None:
    for timeout in (float("inf"), 1e12, 0, -1, 0.0):
        assert Source(1).take().block(timeout) == 1
    with pytest.raises(TimeoutError):
        Source().take().block(timeout=-1)
    with pytest.raises(ValueError, match="NaN"):
        Source().take().block(timeout=float("nan"))
    with pytest.raises(TypeError, match="a number of seconds or None, not str"):
        Source().take().block(timeout="1")  # type: ignore[arg-type]


def test_an_operation_shows_where_it_was_made_and_whether_it_was_started() -> None:
    operation = Source(1).take()
    assert "<take() made at " in repr(operation)
    assert repr(operation).endswith("not started>")
    operation.block()
    assert repr(operation).endswith(", started>")


@pytest.mark.parametrize("take", [pickle.dumps, copy.copy])
def test_an_operation_in_the_place_of_its_result_is_refused_by_its_name(take: Any) -> None:
    operation = Source(1).take()
    with pytest.raises(TypeError, match=r"cannot pickle the operation take\(\): its result is"):
        take(operation)
    assert operation.block() == 1


# -- the warning


def warned_of(made: Any) -> list[warnings.WarningMessage]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made()
        gc.collect()
    return caught


def test_one_that_is_dropped_warns_with_the_line_that_made_it() -> None:
    source = Source(1)

    def drop() -> None:
        dropped = (
            None,
            source.take(),
        )
        del dropped

    (warning,) = warned_of(drop)
    assert warning.category is RuntimeWarning
    assert str(warning.message) == "take() was never awaited nor blocked on"
    assert warning.filename == __file__
    assert warning.lineno == drop.__code__.co_firstlineno + 3
    assert list(source.values) == [1]


@pytest.mark.parametrize("combine", [select, join])
def test_a_dropped_select_or_join_warns_as_do_its_operations(combine: Any) -> None:
    caught = warned_of(lambda: combine(Source().take(), Source().take()) and None)
    texts = sorted(str(warning.message) for warning in caught)
    assert texts == [
        f"{combine.__name__}() of 2 operations was never awaited nor blocked on",
        *["take() was never awaited nor blocked on"] * 2,
    ]
    assert {warning.filename for warning in caught} == {__file__}


@pytest.mark.parametrize(
    "made",
    ["spawn(print)", "select(spawn(print), spawn(print))", "join(Holder(spawn(print)).operation)"],
)
def test_one_that_a_global_holds_at_exit_warns_or_says_nothing(made: str, tmp_path: Path) -> None:
    path = tmp_path / "prog.py"
    path.write_text(
        "from constellation import init, join, select, spawn\n"
        "class Holder:\n"
        "    def __init__(self, operation):\n"
        "        self.operation = operation\n"
        "        self.itself = self\n"
        "init()\n"
        f"kept = Holder({made})\n"
        "held = spawn(print)\n"
    )
    done = subprocess.run(
        [sys.executable, path], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"{path}:8: RuntimeWarning: spawn() of print was never awaited" in done.stderr
    for part in ("Exception ignored", "Traceback", "Error"):
        assert part not in done.stderr


def test_nothing_else_warns() -> None:
    def use() -> None:
        Source(1).take().block()
        select(Source(1).take(), Source().take()).block()  # the loser may be left
        with pytest.raises(TimeoutError):
            join(Source(1).take(), Source().take()).block(timeout=0)
        with pytest.raises(ValueError, match="at least one"):
            select()
        with pytest.raises(TypeError, match="argument 0 is int"):
            join(1)  # type: ignore[arg-type]

    assert warned_of(use) == []


# -- select


def test_select_gives_the_index_and_the_value_of_the_first() -> None:
    assert select(Source().take(), Source("x").take()).block() == (1, "x")
    waiting, late = Source(), Source()
    waiting.on_wait = lambda: late.add("late")
    assert select(waiting.take(), late.take()).block() == (1, "late")


def test_select_takes_nothing_from_the_others() -> None:
    one, other = Source(1), Source(2)
    operations = one.take(), other.take()
    index, value = select(*operations).block()
    assert value == [1, 2][index]
    assert len(one.values) + len(other.values) == 1
    assert operations[1 - index].block() == [2, 1][index]
    with pytest.raises(RuntimeError, match="already started"):
        operations[index].block()


def test_select_is_fair_among_those_that_could() -> None:
    sources = [Source(*range(1000)) for _ in range(4)]
    indices = Counter(
        select(*(source.take() for source in sources)).block()[0] for _ in range(1000)
    )
    assert all(indices[index] > 100 for index in range(4))


def test_a_select_that_timed_out_gives_all_back() -> None:
    source = Source()
    operations = [source.take(), Source().take()]
    chosen = select(*operations)
    with pytest.raises(TimeoutError, match=r"select\(\) of 2 operations did not complete"):
        chosen.block(timeout=0.01)
    assert source.abandoned == 1
    source.add(5)
    assert operations[0].block() == 5
    with pytest.raises(RuntimeError, match="already started"):
        chosen.block()


@pytest.mark.parametrize("late", [False, True])
def test_an_error_in_select_says_which_and_gives_the_others_back(late: bool) -> None:
    error = ChannelError("broken")
    other, broken = Source(), Source()
    if late:
        other.on_wait = lambda: broken.add(error)
    else:
        broken.add(error)
    operations = other.take(), broken.take()
    with pytest.raises(ChannelError, match="broken") as caught:
        select(*operations).block()
    assert caught.value.index == 1
    with pytest.raises(RuntimeError, match="already started"):
        operations[1].block()
    other.add(3)
    assert operations[0].block() == 3


def test_select_and_join_refuse_what_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="at least one operation"):
        select()
    operation = Source(1).take()
    for combine in (select, join):
        with pytest.raises(ValueError, match="the same operation twice"):
            combine(operation, operation)
        with pytest.raises(TypeError, match=r"argument 1 is int"):
            combine(operation, 5)  # type: ignore[arg-type]
    assert operation.block() == 1


# -- join


def test_join_gives_all_results_in_order() -> None:
    late = Source()
    late.on_wait = lambda: late.add("late")
    assert join(late.take(), Source("a").take(), Source("b").take()).block() == ["late", "a", "b"]


def test_a_join_of_nothing_is_done() -> None:
    assert join().block() == []


def test_join_keeps_the_order_within_a_source() -> None:
    source, end = Source(), Source()
    # A value comes between the attempts of the first and of the second.
    source.on_wait = lambda: end.add("end")

    class Between(Toy):
        __slots__ = ()

        def _attempt(self) -> bool:
            if not source.values:
                source.values.extend([1, 2])
            return super()._attempt()

    assert join(source.take(), Between(end), source.take()).block() == [1, "end", 2]


def test_a_join_attempts_only_what_was_notified() -> None:
    sources = [Source() for _ in range(100)]
    attempts: Counter[int] = Counter()

    class Counted(Toy):
        __slots__ = ()

        def _attempt(self) -> bool:
            attempts[sources.index(self.source)] += 1
            return super()._attempt()

    left = iter(reversed(sources))
    sources[0].on_wait = lambda: next(left).add("value")
    assert join(*map(Counted, sources)).block() == ["value"] * 100
    # Before it waits, since it may not have to; when it has begun to wait; when it was notified.
    assert max(attempts.values()) <= 3
    assert not any(source.waiters for source in sources)


@pytest.mark.parametrize("combine", [join, select])
def test_what_was_joined_is_freed_with_the_join(combine: Any) -> None:
    source = Source()
    held = weakref.ref(source)

    def add() -> None:
        living = held()
        assert living is not None
        living.add("value")

    source.on_wait = add
    waited = combine(source.take())
    gc.collect()
    gc.disable()
    try:
        waited.block()
        del source, waited
        assert held() is None
    finally:
        gc.enable()


def test_a_join_that_timed_out_gives_back_what_it_took_in_order() -> None:
    source, never = Source(1, 2, 3), Source()
    operations = source.take(), source.take(), never.take()
    with pytest.raises(TimeoutError):
        join(*operations).block(timeout=0.01)
    assert list(source.values) == [1, 2, 3]
    never.add(4)
    assert join(*operations).block() == [1, 2, 4]
    assert list(source.values) == [3]


@pytest.mark.parametrize("late", [False, True])
def test_an_error_in_join_says_which_and_gives_each_value_back_once(late: bool) -> None:
    error = ChannelError("broken")
    source, broken = Source(1, 2), Source()
    if late:
        source.on_wait = lambda: broken.add(error)
    else:
        broken.add(error)
    with pytest.raises(ChannelError, match="broken") as caught:
        join(source.take(), source.take(), broken.take()).block()
    assert caught.value.index == 2
    assert list(source.values) == [1, 2]


def test_what_cannot_be_given_back_stays_done() -> None:
    source, sent, never = Source(1), Source("sent"), Source()
    taken, final = source.take(), Final(sent)
    with pytest.raises(TimeoutError):
        join(taken, final, never.take()).block(timeout=0.01)
    assert list(source.values) == [1]
    assert not sent.values
    with pytest.raises(RuntimeError, match="already started"):
        final.block()
    assert taken.block() == 1


def test_a_join_that_lost_a_select_may_be_used_again() -> None:
    source, sent, never, winner = Source(1, 2), Source("sent"), Source(), Source("won")
    joined = join(source.take(), Final(sent), never.take())
    while select(joined, winner.take()).block() != (1, "won"):
        pass
    assert list(source.values) == [1, 2]
    never.add(3)
    assert joined.block() == [1, "sent", 3]
    assert list(source.values) == [2]


def test_selects_and_joins_nest() -> None:
    one, other = Source("a"), Source("b")
    assert join(select(one.take(), Source().take()), other.take()).block() == [(0, "a"), "b"]
    one.add("c")
    assert select(select(Source().take(), select(one.take()))).block() == (0, (1, (0, "c")))


# -- asyncio


def test_operations_are_awaited() -> None:
    async def main() -> list[Any]:
        return [
            await Source(1).take(),
            await select(Source().take(), Source(2).take()),
            await join(Source(3).take(), Source(4).take()),
        ]

    assert asyncio.run(main()) == [1, (1, 2), [3, 4]]


def test_a_cancelled_one_gives_back_what_it_took() -> None:
    async def main() -> None:
        source = Source(1, 2)
        task = asyncio.ensure_future(_awaited(join(source.take(), source.take(), Source().take())))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert list(source.values) == [1, 2]

    asyncio.run(main())


async def _awaited(operation: Operation[Any]) -> Any:
    return await operation
