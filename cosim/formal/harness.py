"""Top of a proof: a block whose inputs are free, and what must hold of it in every cycle.

Registers and memories start with any contents; the first cycle has the reset, later ones may have
it. So what is proven holds after a reset from any state, and through resets at any time.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import (
    Assert,
    Assume,
    Const,
    Cover,
    Fragment,
    MemoryInstance,
    Module,
    ResetSignal,
    Shape,
    Signal,
    Value,
    ValueCastable,
)
from amaranth.hdl._ast import SignalDict
from amaranth.lib import wiring

__all__ = ["STARTED", "Harness", "Internals", "every", "implies", "ones"]

STARTED = "formal_started"
_CELL = re.compile(
    r"(?P<head>(?:^ *attribute [^\n]*\n)*)(?P<cell>^ *cell \$check [^\n]*\n)(?P<body>.*?^  end\n)",
    re.MULTILINE | re.DOTALL,
)
_FORMAT = re.compile(r'(?P<key>parameter \\FORMAT )"(?P<name>[^"]*)"')


def implies(condition: Any, consequence: Any) -> Value:
    """Return one bit: ``consequence`` holds wherever ``condition`` does."""
    return ~_bit(condition) | _bit(consequence)


def every(conditions: Any) -> Value:
    """Return one bit: all hold."""
    result = Value.cast(1)
    for condition in conditions:
        result = result & _bit(condition)
    return result[0]


def ones(bits: Any) -> Value:
    """Return the number of bits that are set."""
    result = Value.cast(0)
    for bit in bits:
        result = result + _bit(bit)
    return result


def _bit(value: Any) -> Value:
    return Value.cast(value).bool()


class Internals(Mapping[str, Any]):
    """Registers and wires inside a block by name, ``child.name`` for those of a submodule.

    A register comes before a wire of the same name. ``KeyError`` for a name that the block does
    not have, or has twice: a proof never skips one silently.
    """

    def __init__(self, fragment: Any) -> None:
        self._signals: dict[str, Any] = {}
        self._memories: dict[str, MemoryInstance] = {}
        self._collect(fragment, "")

    def _collect(self, fragment: Any, prefix: str) -> None:
        for domain, statements in fragment.statements.items():
            for statement in statements:
                for signal in statement._lhs_signals():
                    found = self._signals.setdefault(prefix + signal.name, SignalDict())
                    found[signal] = domain != "comb"
        for child, name, _ in fragment.subfragments:
            if isinstance(child, MemoryInstance):
                self._memories[f"{prefix}{name}"] = child
            else:
                self._collect(child, f"{prefix}{name}.")

    def __getitem__(self, name: str) -> Any:
        found = self._signals[name]
        chosen = [signal for signal in found if found[signal]] or list(found)
        if len(chosen) != 1:
            raise KeyError(f"{name}: {len(chosen)} signals of this name")
        return chosen[0]

    def twin(self, name: str, index: int) -> Any:
        """Return one of several registers of the same name, in the order of their making."""
        found = self._signals[name]
        return [signal for signal in found if found[signal]][index]

    def registers_beside(self, other: "Internals") -> Iterator[tuple[str, Any, Any]]:
        """Yield (name, register, the same register of ``other``), two copies of one block."""
        for name, found in self._signals.items():
            pairs = zip(found, other._signals[name], strict=True)
            yield from ((name, mine, theirs) for mine, theirs in pairs if found[mine])

    def read_data(self, memory: str, port: int) -> Value:
        """Return what a read port of a memory delivers."""
        return self._memories[memory]._read_ports[port]._data

    def look(self, memory: str, address: Any, name: str) -> Signal:
        """Return what a memory holds at ``address`` now; the block does not notice."""
        instance = self._memories[memory]
        shape = Shape.cast(instance._data.shape)
        data = Signal(shape.width, name=name)
        place = Value.cast(address)
        instance.read_port(domain="comb", addr=place, data=data, en=Const(1), transparent_for=())
        return data

    def child(self, name: str) -> "Internals":
        """Return what is inside the submodule ``name``."""
        part = Internals.__new__(Internals)
        start = f"{name}."
        part._signals = {
            key.removeprefix(start): found
            for key, found in self._signals.items()
            if key.startswith(start)
        }
        return part

    def __iter__(self) -> Iterator[str]:
        return iter(self._signals)

    def __len__(self) -> int:
        return len(self._signals)


class Harness:
    """Collects a block, its free inputs and the properties.

    Attributes
    ----------
    m : Module
        The top; registers of the harness are in ``sync`` like those of the block, so that they
        are reset with it.
    inputs : list of Signal
        Free in every cycle.
    cuts : list of str
        Wires of the block, by their name after flattening, that are taken from it and made free.
    """

    def __init__(self) -> None:
        self.m = Module()
        self.inputs: list[Any] = []
        self.cuts: list[str] = []
        self.names: dict[str, list[str]] = {"assert": [], "assume": [], "cover": []}
        started = Signal(name=STARTED, reset_less=True)
        self.m.d.sync += started.eq(1)
        self.started = started
        self.assume("reset_first", started | ResetSignal("sync"))

    def free(self, shape: Any, name: str) -> Any:
        """Return an input of the proof."""
        signal = Signal(shape, name=name)
        self.inputs.append(Value.cast(signal))
        return signal

    def add(self, name: str, component: wiring.Component) -> Internals:
        """Instantiate ``component``; its inputs are free. Return what is inside."""
        fragment = Fragment.get(component, None)
        self.m.submodules[name] = fragment
        for _, member, value in component.signature.flatten(component):
            if member.flow == wiring.In:
                self.inputs.append(Value.cast(value))
        return Internals(fragment)

    def close(self, port: Any) -> None:
        """Take an input of a block back: the harness drives it."""
        gone = Value.cast(port)
        self.inputs = [signal for signal in self.inputs if signal is not gone]

    def register(self, value: Any, name: str, *, enable: Any = None, init: int = 0) -> Any:
        """Return ``value`` a cycle later, held while ``enable`` is 0."""
        if isinstance(value, ValueCastable):
            shape = value.shape()
        else:
            shape = Shape.cast(Value.cast(value).shape())
        copy = Signal(shape, name=name) if not init else Signal(shape, name=name, init=init)
        if enable is None:
            self.m.d.sync += copy.eq(value)
        else:
            with self.m.If(enable):
                self.m.d.sync += copy.eq(value)
        return copy

    def named(self, value: Any, name: str) -> Signal:
        """Return a wire of that name, which a waveform shows."""
        value = Value.cast(value)
        signal = Signal(value.shape(), name=name)
        self.m.d.comb += signal.eq(value)
        return signal

    def constant(self, signal: Any) -> None:
        """The solver chooses ``signal`` once; not even a reset changes it."""
        before = Signal.like(signal, name=f"{signal.name}_before", reset_less=True)
        self.m.d.sync += before.eq(signal)
        self.assume(f"{signal.name}_stays", ~self.started | (signal == before))

    def check(self, name: str, condition: Any) -> None:
        """``condition`` must hold in every cycle after the first."""
        self._property("assert", Assert, name, ~self.started | _bit(condition))

    def assume(self, name: str, condition: Any) -> None:
        """Only inputs for which ``condition`` holds are looked at."""
        self._property("assume", Assume, name, _bit(condition))

    def cover(self, name: str, condition: Any) -> None:
        """``condition`` must be reachable: a proof of nothing would have it unreachable."""
        self._property("cover", Cover, name, self.started & _bit(condition))

    def _property(self, kind: str, make: Callable[..., Any], name: str, condition: Any) -> None:
        if name in self.names[kind]:
            raise ValueError(f"{kind} {name} stands twice")
        self.names[kind].append(name)
        self.m.d.comb += make(condition, name)

    def rtlil(self) -> str:
        """Return the design with each property's name as its source."""
        text = rtlil.convert(self.m, name="top", ports=self.inputs, emit_src=False)
        found = 0

        def rename(match: re.Match[str]) -> str:
            nonlocal found
            name = _FORMAT.search(match["body"])
            if not name or not name["name"]:  # the block's own: free inputs do break them
                return ""
            found += 1
            body = _FORMAT.sub(lambda hit: f'{hit["key"]}""', match["body"])
            return f'{match["head"]}  attribute \\src "{name["name"]}"\n{match["cell"]}{body}'

        text = _CELL.sub(rename, text)
        if found < sum(map(len, self.names.values())):
            raise RuntimeError(f"{found} properties of {self.names} in the RTLIL")
        return text
