"""Figures as people read them: shares, sizes, durations and counts, each with its unit."""

import math


def percent(share: float | None, *, digits: int = 1) -> str:
    """Format a share of one as a percentage; a dash where there is none."""
    if share is None or not math.isfinite(share):
        return _DASH
    return f"{_number(100 * share, digits)} %"


def points(difference: float | None) -> str:
    """Format a difference of two shares, with its sign, in percentage points."""
    if difference is None or not math.isfinite(difference):
        return _DASH
    return f"{_number(100 * difference, 1, sign=True)} points"


def data_size(size_bytes: float | None) -> str:
    """Format a number of bytes in decimal units: 1 MB is a million bytes."""
    if size_bytes is None or not math.isfinite(size_bytes):
        return _DASH
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if size_bytes >= 0.9995 * factor:
            return f"{_three_digits(size_bytes / factor)} {unit}"
    return f"{size_bytes:.0f} B"


def duration(seconds: float | None) -> str:
    """Format a duration: seconds below two minutes, then minutes, hours or days."""
    if seconds is None or not math.isfinite(seconds):
        return _DASH
    if seconds < 0.9995:
        return f"{_three_digits(1000 * seconds)} ms" if seconds else "0 s"
    if seconds < 119.5:
        return f"{_three_digits(seconds)} s"
    if seconds < 7199.5:
        return _two_units(round(seconds), 60, "min", "s")
    if seconds < 48 * 3600 - 30:
        return _two_units(round(seconds / 60), 60, "h", "min")
    return _two_units(round(seconds / 3600), 24, "d", "h")


def count(number: float | None) -> str:
    """Format a count with thousands set apart: ``12,345``."""
    return _DASH if number is None or not math.isfinite(number) else f"{number:,.0f}"


def plural(number: int, word: str) -> str:
    """Format a count with its noun: ``1 peer``, ``32 peers``."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def scientific(number: float | None) -> str:
    """Format a number of unknown size in three significant digits: ``0.0123``, ``4.5e-09``."""
    if number is None or not math.isfinite(number):
        return _DASH
    return _three_digits(number) if number == 0 or 1e-3 <= abs(number) < 1e6 else f"{number:.1e}"


_DASH = "–"


def _two_units(number: int, size: int, large: str, small: str) -> str:
    rest = f" {number % size:02} {small}" if number % size else ""
    return f"{number // size} {large}{rest}"


def _three_digits(number: float) -> str:
    """Format to three significant digits without an exponent."""
    if number == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(number))))
    text = f"{number:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _number(number: float, digits: int, *, sign: bool = False) -> str:
    text = f"{number:+.{digits}f}" if sign else f"{number:.{digits}f}"
    # A difference that rounds to nothing has no sign.
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")
