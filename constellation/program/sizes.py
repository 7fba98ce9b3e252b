"""Whether a program is too large to be shipped, and what it is that makes it so. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from constellation.program.errors import PackError
from constellation.program.ignore import literal
from constellation.program.manifest import ENTRIES_LIMIT, shown
from constellation.units import Mem

__all__ = ["check_size"]

_SHOWN = 5  # of files, and of directories
_MIB = 1 << 20


def check_size(directory: str, sizes: Mapping[bytes, int], max_size: Mem, others: int = 0) -> None:
    """Refuse a program that is too large.

    Args:
        directory: Where it is.
        sizes: By path the bytes of each file.
        max_size: The most bytes of all of them.
        others: How many links and empty directories there are besides.

    Raises:
        PackError: It is too large, or has too many files. The text lists the largest, and says what
            to do.
    """
    total = sum(sizes.values())
    if total > max_size:
        raise PackError(_too_large(directory, sizes, total, max_size))
    if len(sizes) + others > ENTRIES_LIMIT:
        raise PackError(_too_many(directory, sizes, len(sizes) + others))


def _too_large(directory: str, sizes: Mapping[bytes, int], total: int, max_size: Mem) -> str:
    files = _largest(sizes)
    directories = _largest(_directories(sizes))
    much = Mem(total).human
    if much == max_size.human:  # a little more
        much = f"{total} bytes"
    lines = [
        f"the program in {directory} has {much} to ship; the limit is {max_size}.",
        "The largest files:",
        *(f"    {Mem(size).human:>10}  {shown(path)}" for path, size in files),
    ]
    if directories:
        lines.append("The largest directories:")
        lines += [f"    {Mem(size).human:>10}  {shown(path)}/" for path, size in directories]
    culprit = f"{literal(directories[0][0])}/" if directories else literal(files[0][0])
    needed = Mem(-(-total // _MIB) * _MIB)
    lines.append(
        f"Leave out what it does not need, as with --exclude '{culprit}', "
        f"or allow that much with --max-size '{needed}'."
    )
    return "\n".join(lines)


def _too_many(directory: str, sizes: Mapping[bytes, int], count: int) -> str:
    directories = _largest(_directories(dict.fromkeys(sizes, 1)))
    lines = [f"the program in {directory} has {count} files to ship; the limit is {ENTRIES_LIMIT}."]
    if directories:
        lines.append("The directories with the most of them:")
        lines += [f"    {number:>10}  {shown(path)}/" for path, number in directories]
    lines.append("Leave out what it does not need with --exclude.")
    return "\n".join(lines)


def _directories(amounts: Mapping[bytes, int]) -> dict[bytes, int]:
    """By path what is in each directory, but of those that hold the same only the outermost."""
    sums: dict[bytes, int] = {}
    for path, amount in amounts.items():
        directory = path.rpartition(b"/")[0]
        while directory:
            sums[directory] = sums.get(directory, 0) + amount
            directory = directory.rpartition(b"/")[0]
    return {path: size for path, size in sums.items() if sums.get(path.rpartition(b"/")[0]) != size}


def _largest(amounts: Mapping[bytes, int]) -> list[tuple[bytes, int]]:
    return sorted(amounts.items(), key=lambda item: (-item[1], item[0]))[:_SHOWN]
