"""Checks of constructor parameters, with one wording for all blocks."""

__all__ = ["check_choice", "check_size"]


def check_size(quantity, value, low, high):
    """Return ``value`` if it is an integer in low..high.

    ``TypeError`` if it is not an integer, ``ValueError`` if it is out of range.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{quantity} must be an integer in {low}..{high}, got {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{quantity} must be in {low}..{high}, got {value}")
    return value


def check_choice(quantity, value, choices):
    """Return ``value`` if it is one of ``choices``, else raise ``ValueError``."""
    if value not in choices:
        raise ValueError(f"{quantity} must be one of {', '.join(map(str, choices))}, got {value!r}")
    return value
