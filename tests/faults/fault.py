"""What a planted fault is.

A fault is one text of one file of ``hdl/`` replaced by another. The text must occur exactly once,
so a change of the RTL that moves it is noticed. The fault must be seen by the block's own bench, at
one of ``streams``.
"""

from dataclasses import dataclass

__all__ = ["Fault"]


@dataclass(frozen=True)
class Fault:
    """``old`` becomes ``new`` in ``hdl/file``; ``models`` says what a designer did wrong.

    ``stops``: an assertion of the RTL ends the simulation before a stream differs.
    """

    name: str
    file: str
    old: str
    new: str
    block: str
    streams: tuple[str, ...]
    models: str
    stops: bool = False

    @property
    def caught_by(self) -> str:
        """The test that a developer would see fail."""
        return f"tests/test_{self.block}.py (bench cosim/tb_{self.block}.py)"
