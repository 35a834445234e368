"""Errors that a user can cause and mend: one line that says what, where and what is allowed."""

__all__ = ["UserError"]


class UserError(Exception):
    """Bad input. The command line prints the text on one line and exits with status 2."""
