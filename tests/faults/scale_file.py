"""Faults planted in ``hdl/scale_file.py`` and what it is made of."""

from tests.faults.fault import Fault

__all__ = ["FAULTS", "PARAMETERS"]

PARAMETERS: dict[str, int | str] = {"lanes": 2}

FAULTS = (
    Fault(
        "group_a_tile_early",
        "tile_lookup.py",
        "self.boundaries[index] <= first.step",
        "self.boundaries[index] <= self.i.payload.step",
        "scale_file",
        ("o_conv", "o_activation", "o_edge", "o_read"),
        "group switched a tile early",
    ),
    Fault(
        "group_a_tile_late",
        "tile_lookup.py",
        "self.boundaries[index] <= first.step",
        "self.boundaries[index] <= checked.step",
        "scale_file",
        ("o_conv", "o_activation", "o_edge", "o_read"),
        "group switched a tile late",
    ),
    Fault(
        "boundary_off_by_one",
        "tile_lookup.py",
        "self.boundaries[index] <= first.step",
        "self.boundaries[index] < first.step",
        "scale_file",
        ("o_conv", "o_activation", "o_edge", "o_read"),
        "group begins a step late",
    ),
    Fault(
        "stale_bank",
        "tile_lookup.py",
        "passes.eq(checked_valid & matches & bank.loaded",
        "passes.eq(checked_valid & bank.loaded",
        "scale_file",
        ("o_conv", "o_activation", "o_edge", "i_conv", "i_activation", "i_edge", "bank_busy"),
        "stale scale bank: a tile passes before its set is loaded",
        stops=True,
    ),
    Fault(
        "bank_overwritten_in_use",
        "scale_file.py",
        "takes[bank].eq(is_open[bank] & ~self.bank_busy[bank])",
        "takes[bank].eq(is_open[bank])",
        "scale_file",
        ("i_write", "o_conv", "o_activation", "o_edge"),
        "bank written though a tile has entered since it was offered the write",
        stops=True,
    ),
    Fault(
        "bank_opens_in_use",
        "scale_file.py",
        "with m.If(self.bank_busy[bank] | (accepts",
        "with m.If((accepts",
        "scale_file",
        ("i_conv", "i_activation", "i_edge", "i_write", "o_conv", "o_activation", "o_edge"),
        "bank opens while its tiles are in flight",
        stops=True,
    ),
    Fault(
        "tile_enters_an_open_bank",
        "tile_lookup.py",
        "bank.loaded & shut & back_moves",
        "bank.loaded & back_moves",
        "scale_file",
        ("i_conv", "i_activation", "i_edge", "bank_busy"),
        "a tile enters a bank in the cycle in which its first write is taken",
    ),
)
