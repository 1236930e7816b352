"""Expected times in words: the time, and between which nine of ten are to be expected."""

from __future__ import annotations

from perfkit.units import format_quantity


def expected_in_words(expected_s: float | None, low_s: float | None = None, high_s: float | None = None) -> str | None:
    """A time and its range, in one unit, the range to two digits; without a range where none is known.

    >>> expected_in_words(0.0412, 0.0362, 0.0471)
    '41.2 ms (36-47)'
    >>> expected_in_words(0.0998, 0.0831, 0.1252), expected_in_words(1.5e-3, 1.2e-3, 2.04e-3), expected_in_words(0.5)
    ('99.8 ms (83-125)', '1.50 ms (1.2-2.0)', '500 ms')
    """
    if expected_s is None:
        return None
    time = format_quantity(expected_s, "s")
    if low_s is None or high_s is None or not expected_s:
        return time
    number, _, _ = time.partition(" ")
    scale = float(number) / expected_s
    return f"{time} ({_two_digits(low_s * scale)}-{_two_digits(high_s * scale)})"


def _two_digits(number: float) -> str:
    """Two digits, all of those before the point.

    >>> [_two_digits(number) for number in (0.123, 2.04, 9.96, 47.3, 125.2)]
    ['0.12', '2.0', '10', '47', '125']
    """
    if number >= 9.95:
        return f"{number:.0f}"
    return f"{number:.1f}" if number >= 0.995 else f"{number:.2f}"
