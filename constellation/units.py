"""Amounts of memory and of processor.

Both are a whole number of a smallest unit, so that arithmetic is exact: a ledger that adds and
takes away the same amounts ends where it began. Where a factor or a divisor is no whole number
the exact result is rounded once, to the nearest smallest unit, ties to even, as
:class:`datetime.timedelta` does. There are no negative amounts.

A plain number may stand for an amount wherever an amount is expected: bytes for memory, cores for
processor. So ``sum(amounts)`` works, and ``mem > 0``. The two kinds do not mix.
"""

from __future__ import annotations

import math
import numbers
import re
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias, overload

if TYPE_CHECKING:
    from typing_extensions import Self

# More than any amount needs. Python refuses to read thousands of digits, with a text of its own.
_LONGEST_TEXT: Final = 64
_LONGEST_SHOWN: Final = len("1000 MiB")
_NUMBER: Final = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)"


def _exact(number: Any) -> Fraction | None:
    """The exact value of a real number, None for anything else. Raises ValueError for NaN."""
    if isinstance(number, bool) or not isinstance(number, numbers.Real):
        return None
    if isinstance(number, numbers.Rational):
        return Fraction(int(number.numerator), int(number.denominator))
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{value} is no amount and no factor of one")
    return Fraction(value)


class TooMuch(ValueError):
    """An amount is well written, and larger than amounts can be."""


class _Quantity:
    """A whole number, not below zero, of a smallest unit. Immutable."""

    __slots__ = ("__weakref__", "_count")

    # numpy's numbers then leave the operators to this class, instead of making arrays of it.
    __array_ufunc__: ClassVar[None] = None

    _scale: ClassVar[int]  # smallest units in what a plain number counts
    _most: ClassVar[int]  # smallest units
    _limit: ClassVar[str]  # the same for people, in what a plain number counts or in a unit
    _what: ClassVar[str]
    _how: ClassVar[str]  # how to write one, with an example

    _count: int

    @classmethod
    def _of(cls, count: Fraction | int, shown: object = None) -> Self:
        """The amount of ``count`` smallest units, rounded. ``shown`` is what the error names."""
        whole = round(count)
        if whole < 0:
            shown = "the result" if shown is None else repr(shown)
            raise ValueError(f"{shown} is negative, which {cls._what} cannot be; {cls._how}")
        if whole > cls._most:
            shown = "the result" if shown is None else repr(shown)
            most = f"{cls._what} is {cls._limit}"
            raise TooMuch(f"{shown} is more than any machine has: {most}; {cls._how}")
        self = object.__new__(cls)
        object.__setattr__(self, "_count", whole)
        return self

    @classmethod
    def _make(cls, amount: object) -> Self:
        if isinstance(amount, cls):
            return amount
        if isinstance(amount, str):
            count = cls._parse(amount) if len(amount) <= _LONGEST_TEXT else None
            if count is None:
                raise ValueError(f"{amount!r} is not {cls._what}; {cls._how}")
            return cls._of(count, amount)
        try:
            number = _exact(amount)
        except ValueError:
            raise ValueError(f"{amount!r} is not {cls._what}; {cls._how}") from None
        if number is None:
            # A bool is a number to Python and a mistake here.
            error = ValueError if isinstance(amount, bool) else TypeError
            raise error(f"{amount!r} is not {cls._what}; {cls._how}")
        return cls._of(cls._counted(number, amount), amount)

    @classmethod
    def _parse(cls, text: str) -> Fraction | None:
        """The smallest units that ``text`` means, None where it means none."""
        raise NotImplementedError

    @classmethod
    def _counted(cls, number: Fraction, shown: object) -> Fraction:
        return number * cls._scale

    def _number(self) -> int | float:
        """The plain number that stands for this amount."""
        raise NotImplementedError

    def _operand(self, other: object) -> int | None:
        """The count of the other side of ``+``; None where it is no amount of this kind."""
        if isinstance(other, type(self)):
            return other._count
        if isinstance(other, bool) or not isinstance(other, numbers.Real):
            return None
        return type(self)._make(other)._count

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._number(),)

    # -- arithmetic

    def __add__(self, other: Self | float) -> Self:
        count = self._operand(other)
        return NotImplemented if count is None else self._of(self._count + count)

    __radd__ = __add__

    def __sub__(self, other: Self | float) -> Self:
        count = self._operand(other)
        return NotImplemented if count is None else self._of(self._count - count)

    def __rsub__(self, other: float) -> Self:
        count = self._operand(other)
        return NotImplemented if count is None else self._of(count - self._count)

    def __mul__(self, factor: float | Fraction) -> Self:
        exact = _exact(factor)
        return NotImplemented if exact is None else self._of(self._count * exact)

    __rmul__ = __mul__

    @overload
    def __truediv__(self, other: Self) -> float: ...
    @overload
    def __truediv__(self, other: float | Fraction) -> Self: ...
    def __truediv__(self, other: Self | float | Fraction) -> Self | float:
        if isinstance(other, type(self)):
            return self._count / other._count
        exact = _exact(other)
        return NotImplemented if exact is None else self._of(self._count / exact)

    @overload
    def __floordiv__(self, other: Self) -> int: ...
    @overload
    def __floordiv__(self, other: float | Fraction) -> Self: ...
    def __floordiv__(self, other: Self | float | Fraction) -> Self | int:
        if isinstance(other, type(self)):
            return self._count // other._count
        exact = _exact(other)
        return NotImplemented if exact is None else self._of(self._count // exact)

    def __mod__(self, other: Self | float) -> Self:
        count = self._operand(other)
        return NotImplemented if count is None else self._of(self._count % count)

    # -- comparison

    def _compared(self, other: object) -> Any:
        """What to compare :meth:`_number` with; None where ``other`` is not comparable."""
        if isinstance(other, type(self)):
            return other._number()
        if isinstance(other, bool) or not isinstance(other, numbers.Real):
            return None
        return other

    def __eq__(self, other: object) -> bool:
        number = self._compared(other)
        return NotImplemented if number is None else bool(self._number() == number)

    def __lt__(self, other: object) -> bool:
        number = self._compared(other)
        return NotImplemented if number is None else bool(self._number() < number)

    def __le__(self, other: object) -> bool:
        number = self._compared(other)
        return NotImplemented if number is None else bool(self._number() <= number)

    def __gt__(self, other: object) -> bool:
        number = self._compared(other)
        return NotImplemented if number is None else bool(self._number() > number)

    def __ge__(self, other: object) -> bool:
        number = self._compared(other)
        return NotImplemented if number is None else bool(self._number() >= number)

    def __hash__(self) -> int:
        return hash(self._number())

    def __bool__(self) -> bool:
        return self._count != 0

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


class Mem(_Quantity):
    """An amount of memory: a whole number of bytes.

    ``Mem("1.5 GiB")``, ``20 * Mem.MIB``, ``Mem(4096)``. ``int(mem)`` is bytes. ``str(mem)`` is
    exact, and can be read back.

    Raises:
        ValueError: Bad text, a negative number, NaN, part of a byte, a bool.
        TypeError: No number and no text.
    """

    __slots__ = ()

    B: ClassVar[Mem]
    KIB: ClassVar[Mem]
    MIB: ClassVar[Mem]
    GIB: ClassVar[Mem]
    TIB: ClassVar[Mem]
    PIB: ClassVar[Mem]
    EIB: ClassVar[Mem]

    _scale = 1
    _most = 2**64 - 1  # the largest integer of MessagePack
    _limit = "less than 16 EiB"
    _what = "an amount of memory"
    _units_shown = '(B, KiB, MiB, GiB, TiB, PiB, EiB), such as "1.5 GiB"'
    _how = f"write a whole number of bytes, or text with a unit {_units_shown}"

    # Only the units that mean one thing. Whether "20 MB" is 20,000,000 bytes depends on who
    # wrote it.
    _units: ClassVar[dict[str, int]] = {
        "EiB": 1 << 60,
        "PiB": 1 << 50,
        "TiB": 1 << 40,
        "GiB": 1 << 30,
        "MiB": 1 << 20,
        "KiB": 1 << 10,
        "B": 1,
    }
    _text = re.compile(rf"\s*{_NUMBER}\s*([KMGTPE]iB|B)\s*", re.IGNORECASE | re.ASCII)

    def __new__(cls, amount: MemLike) -> Self:
        """Make the amount from bytes or from text."""
        return cls._make(amount)

    @classmethod
    def _parse(cls, text: str) -> Fraction | None:
        match = cls._text.fullmatch(text)
        if match is None and re.fullmatch(rf"\s*{_NUMBER}\s*", text, re.ASCII):
            # On a command line all is text, so that a number may be written counts for nothing.
            raise ValueError(f"{text!r} has no unit; write text with one {cls._units_shown}")
        if match is None:
            return None
        number, unit = match.groups()
        letter = unit[0].upper()
        return Fraction(number) * cls._units["B" if letter == "B" else f"{letter}iB"]

    @classmethod
    def _counted(cls, number: Fraction, shown: object) -> Fraction:
        if number.denominator != 1:
            raise ValueError(f"{shown!r} is not a whole number of bytes; {cls._how}")
        return number

    def _number(self) -> int:
        return self._count

    def __int__(self) -> int:
        return self._count

    @property
    def human(self) -> str:
        """About how much it is, in the unit that fits, such as ``"50.9 MiB"``."""
        for unit, size in self._units.items():
            if self._count >= size:
                return f"{self._count / size:.1f}".removesuffix(".0") + f" {unit}"
        return "0 B"

    def __str__(self) -> str:
        # The largest unit of which it is a whole number of eighths: three decimals at most.
        for unit, size in self._units.items():
            if self._count >= size and self._count * 8 % size == 0:
                whole, eighths = divmod(self._count * 8 // size, 8)
                decimals = f"{eighths * 125:03d}".rstrip("0")
                return f"{whole}.{decimals} {unit}" if decimals else f"{whole} {unit}"
        return "0 B"

    def __repr__(self) -> str:
        return f'Mem("{self}")'


class Cpu(_Quantity):
    """An amount of processor: logical cores, to a billionth of one.

    ``Cpu(0.01)``, ``Cpu("1/16")``, ``Cpu.CORE / 16``. ``float(cpu)`` is cores. ``str(cpu)`` is
    exact, and can be read back.

    It counts billionths and is no float underneath, since the usual needs are decimal fractions:
    sixteen hundred shares of 0.01, added one by one, are 16 here and 15.999999999999703 in floats.
    A ledger of floats drifts, and in the end has no room where there is some. 0.01 and 0.001 are
    exact, and so are 1/2, 1/4 and so on to 1/512. ``Cpu(float(cpu)) == cpu`` always.

    Raises:
        ValueError: Bad text, a negative number, NaN, a bool.
        TypeError: No number and no text.
    """

    __slots__ = ()

    CORE: ClassVar[Cpu]

    _scale = 10**9
    # About 4.5 million cores. Up to here a float tells any two neighbours apart.
    _most = 2**52
    _limit = "at most 4503599"
    _what = "an amount of cores"
    _how = 'write a number of logical cores, or text such as "0.5" or "1/16"'

    _text = re.compile(rf"\s*{_NUMBER}(?:\s*/\s*{_NUMBER})?\s*(?:cores?)?\s*", re.ASCII)

    def __new__(cls, amount: CpuLike) -> Self:
        """Make the amount from a number of cores or from text."""
        return cls._make(amount)

    @classmethod
    def _parse(cls, text: str) -> Fraction | None:
        match = cls._text.fullmatch(text)
        if match is None:
            return None
        divisor = Fraction(match[2] or 1)
        return None if divisor == 0 else Fraction(match[1]) * cls._scale / divisor

    def _number(self) -> float:
        return self._count / self._scale

    def __float__(self) -> float:
        return self._count / self._scale

    def __str__(self) -> str:
        whole, billionths = divmod(self._count, self._scale)
        decimals = f"{billionths:09d}".rstrip("0")
        return f"{whole}.{decimals}" if decimals else str(whole)

    def __repr__(self) -> str:
        return f"Cpu({self})"


def memory_shown(size: int) -> str:
    """So many bytes, for people: exactly, where that is short, as what programs ask for is."""
    amount = Mem(size)
    exact = str(amount)
    return exact if len(exact) <= _LONGEST_SHOWN else amount.human


MemLike: TypeAlias = "Mem | int | str"
"""What may be given for an amount of memory."""
CpuLike: TypeAlias = "Cpu | float | Fraction | str"
"""What may be given for an amount of processor."""

Mem.B = Mem(1)
Mem.KIB = Mem(1 << 10)
Mem.MIB = Mem(1 << 20)
Mem.GIB = Mem(1 << 30)
Mem.TIB = Mem(1 << 40)
Mem.PIB = Mem(1 << 50)
Mem.EIB = Mem(1 << 60)
Cpu.CORE = Cpu(1)
