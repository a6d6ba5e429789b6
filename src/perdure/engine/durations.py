"""Lengths of time as people write them: `2s`, `1m 30s`, `2 hours`, or ISO 8601 (`PT2S`, `P1DT12H`)."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["format_milliseconds", "parse_milliseconds"]

_UNITS: Final[dict[str, int]] = {
    "ms": 1,
    "s": 1000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 7 * 86_400_000,
}
_NAMES: Final[dict[str, str]] = {
    name: unit
    for unit, names in {
        "ms": "ms msec msecs milli millis millisecond milliseconds",
        "s": "s sec secs second seconds",
        "m": "m min mins minute minutes",
        "h": "h hr hrs hour hours",
        "d": "d day days",
        "w": "w wk wks week weeks",
    }.items()
    for name in names.split()
}
_FRIENDLY: Final = re.compile(r"\s*(\d{1,15})(\.\d{1,9})?\s*([a-zA-Z]+)\s*,?\s*", re.ASCII)
_ISO: Final = re.compile(
    r"P(?=[\dT])(?:(\d{1,9})W)?(?:(\d{1,9})D)?(?:T(?=\d)(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,12}(?:\.\d{1,9})?)S)?)?",
    re.ASCII | re.IGNORECASE,
)
_LONGEST: Final = 1000 * 366 * 86_400_000


def parse_milliseconds(text: str) -> int:
    """Read a length of time, in whole milliseconds, rounded up.

    Raises:
        ValueError: it is none, or more than a thousand years.
    """
    total = _iso(text.strip()) if text.strip()[:1] in {"P", "p"} else _friendly(text)
    if total > _LONGEST:
        raise ValueError(f"{text!r} is longer than a thousand years")
    whole = int(total)
    return whole + (total > whole)


def _iso(text: str) -> float:
    found = _ISO.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no duration of ISO 8601; write PT2S or P1DT12H")
    weeks, days, hours, minutes, seconds = (float(part) if part else 0.0 for part in found.groups())
    of = _UNITS
    return weeks * of["w"] + days * of["d"] + hours * of["h"] + minutes * of["m"] + round(seconds * 1000, 6)


def _friendly(text: str) -> float:
    total, position = 0.0, 0
    while position < len(text):
        found = _FRIENDLY.match(text, position)
        unit = _NAMES.get(found.group(3).lower()) if found is not None else None
        if found is None or unit is None:
            break
        whole, fraction = found.group(1), found.group(2) or ""
        total += round(float(whole + fraction) * _UNITS[unit], 6)
        position = found.end()
    if not text.strip() or position < len(text):
        raise ValueError(f"{text!r} is no length of time; write 2s, 1m 30s, 2 hours, or PT2S")
    return total


def format_milliseconds(value: int) -> str:
    """Write a length of time as `1m 30s`; nothing at all is `0s`."""
    parts: list[str] = []
    for unit in ("d", "h", "m", "s", "ms"):
        count, value = divmod(value, _UNITS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts) or "0s"
