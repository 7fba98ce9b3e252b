"""Finding what fits: an ordered index over pairs of amounts, with cost O(log n) for everything.

The master asks three questions of this kind, and one index answers them all:

- Which node has room for this request, and the least of it? (amounts: what is free)
- Which waiting request fits this room, and is the largest? (amounts: what is needed, negated)
- Is any node large enough at all? (amounts: capacities)

**Best fit.** The answer is the entry with the *least memory* that is enough, of those whose cores
are enough as well; among equals in memory the one with the fewest cores, then the one that was
added first. Small requests so go where little is left, one node is filled before the next is begun,
and large holes stay whole. First fit would nibble at every node alike.

**Why memory leads.** With two amounts there is no one order of "tighter". A sum of shares would be
one, but which entries are large enough in both cannot be found in an order by a sum without looking
at many. In the order of one amount it can: each block of the tree knows the most cores below it, so
a search skips what has too few. Memory it is and not cores, because what runs short of memory dies,
and what runs short of cores is slow.

The tree is a B+ tree: blocks of at most 32 entries, split when full, joined with a neighbour when
nearly empty. In plain Python that is several times faster than a binary tree, since within a block
the work is done by ``bisect``, ``max`` and ``list``, in C. In a large tree most of the time goes
into waiting for memory, so what is compared lies together: a key is one integer, and cores are in
arrays.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")

_MOST: Final = 32  # entries of a block
_FEWEST: Final = 8  # of any block but the root

_HALF: Final = 1 << 63  # makes cores positive, negative as they may be
_MASK: Final = (1 << 64) - 1


def _key(mem: int, cpu: int, order: int = 0) -> int:
    """The three as one integer of the same order."""
    return (mem << 128) + ((cpu + _HALF) << 64) + order


def _mem_of(key: int) -> int:
    return key >> 128


def _cpu_of(key: int) -> int:
    return ((key >> 64) & _MASK) - _HALF


class _Block:
    """A part of the tree: entries, or blocks, in order."""

    __slots__ = ("below", "cpus", "is_leaf", "keys")

    def __init__(self, is_leaf: bool, keys: list[int], cpus: array[int], below: list[Any]) -> None:
        self.is_leaf = is_leaf
        self.keys = keys  # of each entry; of each block below its first
        self.cpus = cpus  # of each entry; of each block below the most
        self.below = below  # what was added; the blocks

    def split(self) -> _Block:
        """Give the upper half away, as a new block."""
        half = len(self.keys) // 2
        upper = _Block(self.is_leaf, self.keys[half:], self.cpus[half:], self.below[half:])
        del self.keys[half:], self.cpus[half:], self.below[half:]
        return upper

    def take(self, upper: _Block) -> None:
        """Take in all of the block that comes after this one."""
        self.keys += upper.keys
        self.cpus += upper.cpus
        self.below += upper.below


class FitIndex(Generic[T]):
    """Things with two amounts each, of which the tightest that fits is found."""

    __slots__ = ("_root", "_size")

    def __init__(self) -> None:
        self._root = _Block(True, [], array("q"), [])
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[T]:
        """All of them in order, the least memory first."""
        return _each(self._root)

    def add(self, mem: int, cpu: int, order: int, item: T) -> None:
        """Add a thing.

        Args:
            mem: Its one amount.
            cpu: Its other amount, of at most 63 bits.
            order: Tells it from others with the same amounts, of which the least is found first.
                Of at most 64 bits, and not negative. The three together must be new.
            item: The thing.
        """
        upper = _add(self._root, _key(mem, cpu, order), cpu, item)
        self._size += 1
        if upper is not None:
            lower = self._root
            self._root = _Block(
                False,
                [lower.keys[0], upper.keys[0]],
                array("q", [max(lower.cpus), max(upper.cpus)]),
                [lower, upper],
            )

    def remove(self, mem: int, cpu: int, order: int) -> None:
        """Remove a thing, named by what it was added with.

        Raises:
            KeyError: It is not there.
        """
        _remove(self._root, _key(mem, cpu, order), cpu)
        self._size -= 1
        if not self._root.is_leaf and len(self._root.below) == 1:
            self._root = self._root.below[0]

    def find(self, mem: int, cpu: int) -> T | None:
        """The first thing, in the order of memory, that has at least so much of both."""
        found: T | None = _find(self._root, _key(mem, cpu), cpu)
        return found

    def after(self, mem: int, cpu: int, low: tuple[int, int, int] | None) -> Iterator[T]:
        """Each thing with at least so much of both that comes after ``low``, in order.

        Args:
            mem: The least of the one amount.
            cpu: The least of the other.
            low: Where to begin: what one of the things was added with, which is itself left out,
                or None for the first.
        """
        first = _key(mem, cpu)
        if low is not None:
            first = max(first, _key(*low) + 1)
        return _from(self._root, first, cpu)

    def most_mem(self) -> T | None:
        """The thing with the most memory, and of those the one with the most cores."""
        block = self._root
        if not block.keys:
            return None
        while not block.is_leaf:
            block = block.below[-1]
        # Of equals the first, as everywhere.
        key = block.keys[-1]
        return self.find(_mem_of(key), _cpu_of(key))

    def most_cpu(self) -> T | None:
        """The thing with the most cores, and of those the one with the least memory."""
        if not self._root.keys:
            return None
        most = max(self._root.cpus)
        found: T | None = _first(self._root, most)
        return found

    def validate(self) -> None:
        """Check that the tree is one. For tests.

        Raises:
            AssertionError: It is not.
        """
        entries, _ = _checked(self._root, is_root=True)
        assert entries == self._size


def _add(block: _Block, key: int, cpu: int, item: object) -> _Block | None:
    """Add below a block. Gives the block that comes after it now, if it was split."""
    keys = block.keys
    if block.is_leaf:
        at = bisect_left(keys, key)
        keys.insert(at, key)
        block.cpus.insert(at, cpu)
        block.below.insert(at, item)
    else:
        at = bisect_right(keys, key) - 1
        if at < 0:
            at = 0
        child: _Block = block.below[at]
        upper = _add(child, key, cpu, item)
        keys[at] = child.keys[0]
        if upper is not None:
            block.cpus[at] = max(child.cpus)
            _link(block, at + 1, upper)
        elif cpu > block.cpus[at]:
            block.cpus[at] = cpu
    return block.split() if len(keys) > _MOST else None


def _link(block: _Block, at: int, child: _Block) -> None:
    block.keys.insert(at, child.keys[0])
    block.cpus.insert(at, max(child.cpus))
    block.below.insert(at, child)


def _remove(block: _Block, key: int, cpu: int) -> None:
    keys = block.keys
    if block.is_leaf:
        at = bisect_left(keys, key)
        if at == len(keys) or keys[at] != key:
            raise KeyError(key)
        del keys[at], block.cpus[at], block.below[at]
        return
    at = bisect_right(keys, key) - 1
    if at < 0:
        raise KeyError(key)
    child: _Block = block.below[at]
    _remove(child, key, cpu)
    if len(child.keys) < _FEWEST:
        _join(block, at)
    else:
        keys[at] = child.keys[0]
        if cpu == block.cpus[at]:  # it may have been the only one with the most
            block.cpus[at] = max(child.cpus)


def _join(block: _Block, at: int) -> None:
    """Join a block that has become small with the one after it, or the last with the one before."""
    if at == len(block.below) - 1:
        at -= 1
    lower: _Block = block.below[at]
    lower.take(block.below[at + 1])
    del block.keys[at + 1], block.cpus[at + 1], block.below[at + 1]
    upper = lower.split() if len(lower.keys) > _MOST else None
    block.keys[at] = lower.keys[0]
    block.cpus[at] = max(lower.cpus)
    if upper is not None:
        _link(block, at + 1, upper)


def _find(block: _Block, low: int, cpu: int) -> Any:
    """The first entry from ``low`` on that has the cores; None where there is none."""
    at = bisect_left(block.keys, low)
    cpus = block.cpus
    if at > 0 and not block.is_leaf and cpus[at - 1] >= cpu:
        # The one block that may have entries on either side of `low`. Only here the search may
        # come back with nothing: on the way down there is one such block on each level.
        found = _find(block.below[at - 1], low, cpu)
        if found is not None:
            return found
    for right in range(at, len(cpus)):
        if cpus[right] >= cpu:
            return block.below[right] if block.is_leaf else _first(block.below[right], cpu)
    return None


def _first(block: _Block, cpu: int) -> Any:
    """The first entry of a block that has the cores; there is one."""
    while True:
        cpus = block.cpus
        at = 0
        while cpus[at] < cpu:
            at += 1
        if block.is_leaf:
            return block.below[at]
        block = block.below[at]


def _from(block: _Block, low: int, cpu: int) -> Iterator[Any]:
    at = bisect_left(block.keys, low)
    if at > 0 and not block.is_leaf:
        at -= 1
    for here in range(at, len(block.keys)):
        if block.cpus[here] >= cpu:
            if block.is_leaf:
                yield block.below[here]
            else:
                yield from _from(block.below[here], low, cpu)


def _each(block: _Block) -> Iterator[Any]:
    if block.is_leaf:
        yield from block.below
    else:
        for child in block.below:
            yield from _each(child)


def _checked(block: _Block, *, is_root: bool = False) -> tuple[int, int]:
    """Check a block. Gives how many entries are below it, and how many levels."""
    assert len(block.keys) == len(block.cpus) == len(block.below) <= _MOST
    assert is_root or len(block.keys) >= _FEWEST
    assert block.keys == sorted(set(block.keys))
    if block.is_leaf:
        assert list(block.cpus) == [_cpu_of(key) for key in block.keys]
        return len(block.keys), 1
    assert block.keys == [child.keys[0] for child in block.below]
    assert list(block.cpus) == [max(child.cpus) for child in block.below]
    for child, after in zip(block.below, block.keys[1:], strict=False):
        assert child.keys[-1] < after
    counts = [_checked(child) for child in block.below]
    assert len({levels for _, levels in counts}) == 1
    assert len(block.below) > 1
    return sum(entries for entries, _ in counts), counts[0][1] + 1
