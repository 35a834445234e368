"""Timestep-group scale register file: when a tile passes, and when a bank may be written.

What the tiles get is in ``golden.scale_tables``.
"""

from collections.abc import Mapping, Sequence

from golden.cycles import LockstepPipeline, RigidPipeline
from golden.numbers import Int64
from golden.scale_tables import Table, TableSet, WriteEvents

__all__ = [
    "COMMIT_CYCLES",
    "LOOKUP_BACK",
    "LOOKUP_FRONT",
    "READ_LATENCY",
    "ScaleFileModel",
    "TileLookupModel",
]

LOOKUP_FRONT = 2  # registers before the bank is checked
LOOKUP_BACK = 2  # registers after it
READ_LATENCY = 2
COMMIT_CYCLES = 2  # between the acceptance of a COMMIT and the first cycle in which tiles pass


class TileLookupModel:
    """One path's lookup: two registers, the check of the bank, two registers.

    A beat waits in front of the check until its bank holds its table set and step. The
    front moves if its last register is a bubble or its beat passes the check and the back moves
    (``o.ready | ~o.valid``). It takes no beat before the schedule is known, nor while a BOUNDARY
    is offered.
    """

    def __init__(self, tiles: Mapping[str, Int64]) -> None:
        self.bank = tiles["bank"].tolist()
        self.table_set = tiles["table_set"].tolist()
        self.step = tiles["step"].tolist()
        self.start = tiles["start"].tolist()
        self.back = RigidPipeline(LOOKUP_BACK)
        self.reset()

    def reset(self) -> None:
        """Empty every register."""
        self.front = [-1] * LOOKUP_FRONT
        self.back.reset()

    def passes(
        self, o_ready: bool, loaded: Sequence[TableSet | None], is_open: Sequence[bool]
    ) -> int:
        """Return the beat that passes the check in this cycle, or -1."""
        beat = self.front[-1]
        if beat < 0 or is_open[self.bank[beat]] or not self.back.ready(o_ready):
            return -1
        tables = loaded[self.bank[beat]]
        hit = (
            tables is not None
            and tables.table_set == self.table_set[beat]
            and tables.step_base <= self.step[beat] <= tables.step_last
        )
        return beat if hit else -1

    @property
    def empty(self) -> bool:
        """True if no beat waits in front of the check."""
        return all(beat < 0 for beat in self.front)

    def moves(self, passing: int) -> bool:
        """Return whether the front moves."""
        return self.front[-1] < 0 or passing >= 0

    def clock(self, accepted: int, passing: int, o_ready: bool) -> None:
        """Advance by one cycle."""
        self.back.clock(passing, o_ready)
        if self.moves(passing):
            self.front = [accepted, *self.front[:-1]]


class ScaleFileModel:
    """Cycle behaviour: three lookups, the read port, and the banks behind them.

    ===========  ===========================================  ================================
    bank         meaning                                      leaves it
    ===========  ===========================================  ================================
    shut         takes no writes; tiles pass if it is loaded  a write to it is offered while it
                 with their table set and step                is not busy: open in the next
                                                              cycle
    open         takes writes; tiles that name it wait        a COMMIT is accepted; or it is
                                                              busy: a tile entered in the cycle
                                                              of the offer
    ===========  ===========================================  ================================

    A bank is loaded ``COMMIT_CYCLES`` after its COMMIT, until another write to it, or a BOUNDARY,
    is accepted. ``in_flight[bank]`` counts the tiles that passed (beats with ``start``) and were
    not released; ``bank_busy`` is in_flight > 0. A write is accepted if its bank is open and not
    busy; ``i_write.ready`` without a beat says that of any bank. A BOUNDARY waits until no bank
    is busy and no beat stands in front of a check. The schedule is known from the second cycle
    after a COMMIT on, until a BOUNDARY is accepted.
    """

    inputs: Sequence[str] = ("i_write", "i_conv", "i_activation", "i_edge", "i_read")
    outputs: Sequence[str] = ("o_conv", "o_activation", "o_edge", "o_read")
    plain_outputs: Sequence[str] = ("bank_busy",)
    PATHS = ("conv", "activation", "edge")

    def __init__(
        self,
        tiles: Mapping[str, Mapping[str, Int64]],
        events: WriteEvents,
        sets: Sequence[TableSet],
    ) -> None:
        self.sets = sets
        self.lookups = {path: TileLookupModel(tiles[path]) for path in self.PATHS}
        self.read = LockstepPipeline(READ_LATENCY)
        self.write_table = events.payload["table"].tolist()
        self.write_bank = events.payload["bank"].tolist()
        self.commits = events.commits.tolist()
        self.reset()

    def reset(self) -> None:
        """Both banks shut and empty, nothing in flight."""
        for path in self.PATHS:
            self.lookups[path].reset()
        self.read.reset()
        self.loaded: list[TableSet | None] = [None, None]
        self.loading: list[tuple[int, TableSet] | None] = [None, None]  # cycles left, set
        self.known = False
        self.known_next = False
        self.is_open = [False, False]
        self.open_next = [False, False]
        self.in_flight = [0, 0]
        self.passing = dict.fromkeys(self.PATHS, -1)

    def offered(self) -> dict[str, int]:
        """Beat in the last register of every path."""
        beats = {f"o_{path}": self.lookups[path].back.offered for path in self.PATHS}
        return beats | {"o_read": self.read.offered}

    def evaluate(
        self, valid: Mapping[str, int], ready: Mapping[str, bool], plain: Mapping[str, int]
    ) -> tuple[dict[str, bool], dict[str, int]]:
        """See ``golden.cycles.CycleModel``."""
        i_ready = {}
        write = valid["i_write"]
        is_boundary = write >= 0 and self.write_table[write] == Table.BOUNDARY
        for path in self.PATHS:
            unit = self.lookups[path]
            beat = unit.passes(ready[f"o_{path}"], self.loaded, self.is_open)
            self.passing[path] = beat
            i_ready[f"i_{path}"] = unit.moves(beat) and self.known and not is_boundary
        idle = [count == 0 for count in self.in_flight]
        takes = [idle[bank] and self.is_open[bank] for bank in range(2)]
        self.open_next = takes.copy()
        if is_boundary:
            empty = all(unit.empty for unit in self.lookups.values())
            i_ready["i_write"] = all(idle) and empty
        elif write >= 0:
            bank = self.write_bank[write]
            i_ready["i_write"] = takes[bank]
            committed = takes[bank] and self.write_table[write] == Table.COMMIT
            self.open_next[bank] = idle[bank] and not committed
        else:
            i_ready["i_write"] = any(takes)
        i_ready["i_read"] = ready["o_read"]
        busy = sum((self.in_flight[bank] > 0) << bank for bank in range(2))
        return i_ready, {"bank_busy": busy}

    def clock(
        self, accepted: Mapping[str, int], ready: Mapping[str, bool], plain: Mapping[str, int]
    ) -> None:
        """See ``golden.cycles.CycleModel``; ``plain``: release_<path> and release_<path>_bank."""
        for path in self.PATHS:
            unit = self.lookups[path]
            beat = self.passing[path]
            if beat >= 0 and unit.start[beat]:
                self.in_flight[unit.bank[beat]] += 1
            if plain[f"release_{path}"]:
                self.in_flight[plain[f"release_{path}_bank"]] -= 1
            unit.clock(accepted[f"i_{path}"], beat, ready[f"o_{path}"])
        self.read.clock(accepted["i_read"], ready["o_read"])
        self.is_open = self.open_next
        self._clock_banks(accepted["i_write"])

    def _clock_banks(self, write: int) -> None:
        """Count down what is committed, then empty what is written."""
        self.known, self.known_next = self.known or self.known_next, False
        for bank, loading in enumerate(self.loading):
            if loading is not None:
                left, tables = loading
                self.loading[bank] = (left - 1, tables) if left > 1 else None
                if left == 1:
                    self.loaded[bank] = tables
        if write < 0:
            return
        table, bank = self.write_table[write], self.write_bank[write]
        for emptied in (0, 1) if table == Table.BOUNDARY else (bank,):
            self.loaded[emptied] = None
            self.loading[emptied] = None
        if table == Table.COMMIT:
            self.loading[bank] = (COMMIT_CYCLES, self.sets[self.commits[write]])
            self.known_next = True
        elif table == Table.BOUNDARY:
            self.known = False
