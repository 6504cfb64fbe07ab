"""Decimal digits to float64, exact to the last bit, inside a kernel.

Clinger's fast path where mantissa and power of ten are both exact, else Eisel-Lemire (Lemire 2021, "Number parsing
at a gigabyte per second"): one 64 x 128 bit product that knows when it is not sure. What it is not sure of, extreme
exponents, and more than 18 digits but for whole numbers of 64 bits are refused, and the slow path reads the number.

Not obvious: numba turns uint64 with int64 into float64, so every constant below is a uint64 by name.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernel import inline, kernel

#: Kinds of a number that was read; a WIDE one is an integer beyond int64.
REFUSED, INTEGER, FRACTION, WIDE = 0, 1, 2, 3

#: Powers of ten beyond these never occur in samples within the limits; the slow path reads them.
_MIN_EXP10, _MAX_EXP10 = -80, 60
_MAX_DIGITS = np.uint64(18)
_MAX_POWER_DIGITS = np.uint64(5)
_NO_POWER = np.int64(1 << 20)


def _powers() -> NDArray[np.uint64]:
    """128-bit mantissas of 10^e, truncated, as (high, low) words; 141 rows."""
    rows = []
    for exp10 in range(_MIN_EXP10, _MAX_EXP10 + 1):
        power = 10 ** abs(exp10)
        if exp10 >= 0:
            shift = 128 - power.bit_length()
            wide = power << shift if shift >= 0 else power >> -shift
        else:
            wide = (1 << (127 + power.bit_length())) // power
        rows.append((wide >> 64, wide & ((1 << 64) - 1)))
    return np.array(rows, np.uint64)


_POWERS = _powers()
_EXACT = np.array([10.0**exp10 for exp10 in range(23)])

_U0, _U1, _U3, _U9, _U10, _U32, _U48, _U52, _U53, _U63 = (np.uint64(n) for n in (0, 1, 3, 9, 10, 32, 48, 52, 53, 63))
_TEN_TO_19 = np.uint64(10**19)
_LOW32 = np.uint64(0xFFFFFFFF)
_LOW9 = np.uint64(0x1FF)
_LOW52 = np.uint64((1 << 52) - 1)
_ALL64 = np.uint64((1 << 64) - 1)


@kernel
def _product(a: np.uint64, b: np.uint64) -> tuple[np.uint64, np.uint64]:
    """High and low word of a 64 x 64 bit product."""
    a_high, a_low = a >> _U32, a & _LOW32
    b_high, b_low = b >> _U32, b & _LOW32
    low, mid, mid2, high = a_low * b_low, a_high * b_low, a_low * b_high, a_high * b_high
    carry = (low >> _U32) + (mid & _LOW32) + (mid2 & _LOW32)
    return high + (mid >> _U32) + (mid2 >> _U32) + (carry >> _U32), (carry << _U32) | (low & _LOW32)


@kernel
def _leading_zeros(x: np.uint64) -> int:
    count = 0
    for step in (32, 16, 8, 4, 2, 1):
        if x >> np.uint64(64 - step) == _U0:
            count += step
            x = x << np.uint64(step)
    return count


@kernel
def _eisel_lemire(mantissa: np.uint64, exp10: int) -> tuple[float, bool]:
    """mantissa * 10^exp10 with mantissa > 0; False where the product cannot decide the last bit."""
    zeros = _leading_zeros(mantissa)
    mantissa = mantissa << np.uint64(zeros)
    exp2 = np.int64(((217706 * exp10) >> 16) + 64 + 1023 - zeros)
    row = exp10 - _MIN_EXP10
    high, low = _product(mantissa, _POWERS[row, 0])
    if (high & _LOW9) == _LOW9 and low + mantissa < mantissa:
        high2, low2 = _product(mantissa, _POWERS[row, 1])
        merged = low + high2
        if merged < low:
            high = high + _U1
        if (high & _LOW9) == _LOW9 and merged == _ALL64 and low2 + mantissa < mantissa:
            return 0.0, False
        low = merged
    top = high >> _U63
    bits = high >> (top + _U9)
    exp2 += np.int64(top) - 1
    if low == _U0 and (high & _LOW9) == _U0 and (bits & _U3) == _U1:
        return 0.0, False  # half-way between two floats
    bits = (bits + (bits & _U1)) >> _U1
    if bits >> _U53 != _U0:
        bits = bits >> _U1
        exp2 += 1
    return np.uint64((np.uint64(exp2) << _U52) | (bits & _LOW52)).view(np.float64), True


@kernel
def scale(mantissa: int, exp10: int) -> tuple[float, bool]:
    """mantissa * 10^exp10, correctly rounded, for 0 <= mantissa < 10^18; False where it cannot be decided here."""
    if mantissa == 0:
        return 0.0, True
    if mantissa <= 9007199254740992 and -22 <= exp10 <= 22:
        if exp10 < 0:
            return mantissa / _EXACT[-exp10], True
        return mantissa * _EXACT[exp10], True
    if exp10 < _MIN_EXP10 or exp10 > _MAX_EXP10:
        return 0.0, False
    return _eisel_lemire(np.uint64(mantissa), exp10)


@inline
def _read_exponent(data: NDArray[np.uint8], at: np.uint64, end: np.uint64) -> tuple[np.int64, np.uint64]:
    """The power after an `e` and the position after it; the power is _NO_POWER where there is none or a long one."""
    power = np.int64(0)
    below = at < end and data[at] == 45
    if at < end and (data[at] == 45 or data[at] == 43):
        at += _U1
    start = at
    while at < end and 48 <= data[at] <= 57 and at - start < _MAX_POWER_DIGITS:
        power = power * 10 + (np.int64(data[at]) - 48)
        at += _U1
    if at == start or at - start == _MAX_POWER_DIGITS:
        return _NO_POWER, at
    return (-power if below else power), at


@kernel
def _read_wide(data: NDArray[np.uint8], begin: np.uint64, end: np.uint64, negative: bool) -> tuple[float, int, int]:
    """As read_number, for an integer of 19 or 20 digits: nanoseconds, and the limits that are not set."""
    at, whole = begin, _U0
    while at < end and 48 <= data[at] <= 57 and at - begin < np.uint64(21):
        whole = whole * _U10 + (np.uint64(data[at]) - _U48)
        at += _U1
    digits = at - begin
    # Twenty digits that fit begin with 1, and then a sum that went round is below 10^19.
    fits = digits < np.uint64(20) or (digits == np.uint64(20) and data[begin] == 49 and whole >= _TEN_TO_19)
    if not fits or data[begin] == 48 or (at < end and (data[at] == 46 or data[at] == 101 or data[at] == 69)):
        return 0.0, 0, REFUSED
    kind = INTEGER if whole < (_U1 << _U63) + (_U1 if negative else _U0) else WIDE
    value = np.float64(whole)
    return (-value if negative else value), int(np.int64(at)), kind


@kernel
def read_number(data: NDArray[np.uint8], begin: int, stop: int) -> tuple[float, int, int]:
    """A number as JSON spells it, from begin: its value, the position after it, its kind; REFUSED on any doubt."""
    at, end = np.uint64(begin), np.uint64(stop)
    negative = at < end and data[at] == 45
    if negative:
        at += _U1
    start = at
    limit = min(end, at + _MAX_DIGITS)
    mantissa, exp10, kind = np.int64(0), np.int64(0), INTEGER
    while at < limit and 48 <= data[at] <= 57:
        mantissa = mantissa * 10 + (np.int64(data[at]) - 48)
        at += _U1
    if at == limit and at < end and 48 <= data[at] <= 57:
        return _read_wide(data, start, end, bool(negative))
    if at == start or (data[start] == 48 and at - start > _U1):
        return 0.0, 0, REFUSED
    if at < end and data[at] == 46:
        kind = FRACTION
        at += _U1
        point = at
        while mantissa == 0 and at < end and data[at] == 48:
            at += _U1  # zeros before the first digit that counts
        limit = min(end, at + _MAX_DIGITS - (point - start - _U1 if mantissa > 0 else _U0))
        while at < limit and 48 <= data[at] <= 57:
            mantissa = mantissa * 10 + (np.int64(data[at]) - 48)
            at += _U1
        if at == point:
            return 0.0, 0, REFUSED
        exp10 = -np.int64(at - point)
    if at < end and 48 <= data[at] <= 57:
        return 0.0, 0, REFUSED  # more digits than fit
    if at < end and (data[at] == 101 or data[at] == 69):
        kind = FRACTION
        power, at = _read_exponent(data, at + _U1, end)
        if power == _NO_POWER:
            return 0.0, 0, REFUSED
        exp10 += power
    value, sure = scale(int(mantissa), int(exp10))
    if not sure:
        return 0.0, 0, REFUSED
    return (-value if negative else value), int(np.int64(at)), kind
