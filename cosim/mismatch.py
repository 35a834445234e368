"""A deviation of the RTL in a designer's words: field, lane, numbers, place in the network."""

from collections.abc import Mapping
from dataclasses import dataclass

from cosim.checker import Difference
from cosim.manifest import Port
from cosim.script import unpack_bits
from golden.cycles import Case

__all__ = ["Mismatch", "locate"]


@dataclass(frozen=True)
class Mismatch:
    """One deviation of the RTL from the golden model.

    ``field``, ``lane``: first that differs in a payload, else "" and -1. ``group``: timestep group
    of the beat, -1 if the case has none.
    """

    kind: str
    stream: str
    cycle: int
    beat: int
    field: str
    lane: int
    expected: str
    got: str
    group: int
    labels: Mapping[str, str | int]

    def __str__(self) -> str:
        what = {
            "missing": f"{self.expected} beats expected, {self.got} came: missing beat {self.beat}",
            "extra": f"{self.expected} beats expected, {self.got} came: extra beat {self.beat}",
        }.get(self.kind, f"{self.kind} expected {self.expected}, got {self.got}")
        place = f"stream {self.stream}"
        place += f", cycle {self.cycle}" if self.cycle >= 0 else ""
        place += f", beat {self.beat}" if self.beat >= 0 else ""
        place += f", lane {self.lane}" if self.lane >= 0 else ""
        place += f", field {self.field}" if self.field else ""
        place += f", timestep group {self.group}" if self.group >= 0 else ""
        place += "".join(f", {name} {value}" for name, value in self.labels.items())
        return f"{place}: {what}"


def locate(difference: Difference, ports: Mapping[str, Port], case: Case) -> Mismatch:
    """Turn a difference of bit strings into field, lane and numbers, and say where in the network.

    ``case.groups`` belong to the beats of its first output stream.
    """
    name, lane = "", -1
    expected, got = difference.expected, difference.got
    port = ports[difference.stream]
    known = set(expected + got) <= {"0", "1"}  # else x or z: the bits are shown as they are
    if difference.kind == "payload" and known:
        wanted, seen = unpack_bits(port, expected), unpack_bits(port, got)
        differing = [key for key in wanted if wanted[key] != seen[key]]
        if differing:
            name, lane = differing[0]
            expected, got = str(wanted[name, lane]), str(seen[name, lane])
            lane = lane if any(f.name == name and not f.scalar for f in port.fields) else -1
    elif difference.kind == "plain" and known:
        expected, got = str(int(expected, 2)), str(int(got, 2))
    beat = difference.beat
    first = difference.stream in list(case.trace.outputs)[:1]
    groups = case.groups if first and case.groups is not None else ()
    places = case.places.get(difference.stream, {})
    where = {key: int(values[beat]) for key, values in places.items() if 0 <= beat < len(values)}
    return Mismatch(
        difference.kind,
        difference.stream,
        difference.cycle,
        beat,
        name,
        lane,
        expected,
        got,
        int(groups[beat]) if 0 <= beat < len(groups) else -1,
        {**case.labels, **where},
    )
