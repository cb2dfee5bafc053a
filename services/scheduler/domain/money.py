"""Money in whole millionths: what is charged is the device time, exactly."""

MILLION = 1_000_000
HOUR = 3600 * MILLION
"""Microseconds."""


def charge(microseconds: int, per_hour: int) -> int:
    """Return what holding a device costs, all in millionths (of a second, of the currency); a half goes to the even."""
    whole, rest = divmod(microseconds * per_hour, HOUR)
    return whole + (2 * rest > HOUR or (2 * rest == HOUR and whole % 2 == 1))
