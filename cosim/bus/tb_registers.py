"""An AXI4-Lite master of cocotbext-axi at the registers: every field, every hole.

Task: ``registers``, of ``hdl.register_map``; ``driven``, (register, field) -> the block's
input that it shows; ``share``, of paused cycles on every channel. Each register is read after the
reset, written with patterns under every byte strobe, and read back; what may not be written must
not move.
"""

import random
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge, with_timeout
from cocotb.utils import get_sim_time
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

from cosim.bus import clock
from cosim.bus.verdict import BusVerdict, finish, task
from hdl.register_map import ADDRESS_BITS, Register

__all__ = ["fields"]

ACCESS_CYCLES = 400
RACE_CYCLES = 40
WORD = 0xFFFF_FFFF


class Host:
    """The master, what was compared, and what the storage should hold."""

    def __init__(self, dut: Any, generator: random.Random, share: float) -> None:
        self.dut = dut
        bus = AxiLiteBus.from_prefix(dut, "s_axi")
        self.master = AxiLiteMaster(bus, dut.aclk, dut.aresetn, False)
        self.compared = 0
        self.wrong: list[str] = []
        write, read = self.master.write_if, self.master.read_if
        for channel in (write.aw_channel, write.w_channel, write.b_channel,
                        read.ar_channel, read.r_channel):  # fmt: skip
            channel.set_pause_generator(clock.pauses(generator, share))

    def expect(self, what: str, expected: int, got: int) -> None:
        """Compare."""
        self.compared += 1
        if expected != got:
            self.wrong.append(f"{what}: expected {expected:#x}, got {got:#x}")

    async def read(self, address: int) -> tuple[int, bool]:
        """Return the word and whether the answer was OKAY."""
        answer = await with_timeout(self.master.read(address, 4), ACCESS_CYCLES * 10, "ns")
        return int.from_bytes(answer.data, "little"), answer.resp == AxiResp.OKAY

    async def write(self, address: int, value: int, first: int = 0, size: int = 4) -> bool:
        """Write bytes ``first`` .. ``first + size - 1`` of a word; return whether OKAY."""
        data = value.to_bytes(4, "little")[first : first + size]
        answer = await with_timeout(
            self.master.write(address + first, data), ACCESS_CYCLES * 10, "ns"
        )
        return bool(answer.resp == AxiResp.OKAY)


@cocotb.test()
async def fields(dut: Any) -> None:
    """Reset values, access types, strobes, holes, refusals while busy."""
    work = task()
    generator = random.Random(work["seed"])
    registers: tuple[Register, ...] = work["registers"]
    for port in work["driven"].values():
        getattr(dut, port).value = 0
    for port in work["idle"]:
        getattr(dut, port).value = 0
    dut.aresetn.value = 0
    clock.start(dut)
    host = Host(dut, generator, work["share"])
    await clock.reset(dut)
    for register in registers:
        word, okay = await host.read(register.address)
        host.expect(f"{register.path} after reset", register.reset, word)
        host.expect(f"{register.path} is readable", 1, okay)
    known = {register.address for register in registers}
    for address in range(0, 1 << ADDRESS_BITS, 4):
        if address not in known:
            _, okay = await host.read(address)
            host.expect(f"hole {address:#04x} answers a read with an error", 0, okay)
            okay = await host.write(address, WORD)
            host.expect(f"hole {address:#04x} answers a write with an error", 0, okay)
    for register in registers:
        if register.name != "control":
            await _writes(host, register, generator)
    await _interrupts(host, registers)
    await _busy(host, registers)
    await _shown(host, registers, work["driven"], generator)
    cycles = clock.cycles_now(get_sim_time("ns"))
    finish(BusVerdict(host.compared, cycles, host.wrong[:20]))


async def _writes(host: Host, register: Register, generator: random.Random) -> None:
    """Patterns under every run of bytes; the RTL's storage against the description's."""
    held = register.reset
    stored = sum(field.mask for field in register.fields if field.access == "rw")
    tries = [(WORD, 0, 4), (0, 0, 4), (0x5A5A_5A5A, 0, 4)]
    tries += [(generator.getrandbits(32), at, 1) for at in range(4)]
    tries += [(generator.getrandbits(32), 0, 2), (generator.getrandbits(32), 2, 2)]
    for value, first, size in tries:
        okay = await host.write(register.address, value, first, size)
        host.expect(f"{register.path} takes a write", register.writable, okay)
        bits = ((1 << 8 * size) - 1) << 8 * first
        held = (held & ~(bits & stored)) | (value & bits & stored)
        word, _ = await host.read(register.address)
        host.expect(f"{register.path} after {value:#x} to bytes {first}+{size}", held, word)
    await host.write(register.address, register.reset)


async def _settle(host: Host) -> None:
    for _ in range(3):
        await RisingEdge(host.dut.aclk)


async def _interrupts(host: Host, registers: tuple[Register, ...]) -> None:
    """A rise sets a pending bit, mask lets it through, written 1 clears that bit alone."""
    at = {register.name: register.address for register in registers}
    dut = host.dut
    dut.done.value, dut.error.value = 1, 1
    await _settle(host)
    host.expect("both ends are pending", 3, (await host.read(at["interrupt"]))[0])
    host.expect("irq without a mask", 0, int(dut.irq.value))
    for mask, pending in ((1, 1), (2, 1), (3, 1), (0, 0)):
        await host.write(at["mask"], mask)
        await _settle(host)
        host.expect(f"irq with mask {mask}", pending, int(dut.irq.value))
    await host.write(at["interrupt"], 1)
    host.expect("done cleared, error stays", 2, (await host.read(at["interrupt"]))[0])
    await host.write(at["interrupt"], 2)
    host.expect("error cleared", 0, (await host.read(at["interrupt"]))[0])
    dut.done.value, dut.error.value = 0, 0
    for distance in range(RACE_CYCLES):
        await _race(host, at["interrupt"], distance)
    dut.done.value = 0
    await _settle(host)
    await host.write(at["interrupt"], 3)


async def _race(host: Host, address: int, distance: int) -> None:
    """An end ``distance`` cycles into a clear is pending unless the clear acts after it."""
    dut = host.dut
    dut.done.value = 0
    await _settle(host)
    await host.write(address, 3)
    clearing = cocotb.start_soon(host.write(address, 3))
    acts = RACE_CYCLES
    for cycle in range(2 * RACE_CYCLES):
        await RisingEdge(dut.aclk)
        if acts == RACE_CYCLES and int(dut.s_axi_bvalid.value):
            acts = cycle - 1  # the answer stands in the cycle after
        if cycle == distance:
            dut.done.value = 1
    await clearing
    word, _ = await host.read(address)
    host.expect(f"done {distance + 1 - acts} cycles after a clear", int(distance + 1 >= acts), word)


async def _busy(host: Host, registers: tuple[Register, ...]) -> None:
    """In a run only registers marked ``while_busy`` take a write, and no *start*."""
    host.dut.busy.value = 1
    await _settle(host)
    for register in registers:
        value = 0 if register.name == "control" else WORD
        before, _ = await host.read(register.address)
        okay = await host.write(register.address, value)
        host.expect(f"{register.path} takes a write while busy",
                    register.writable and register.while_busy, okay)  # fmt: skip
        if not register.while_busy and not register.moves:
            after, _ = await host.read(register.address)
            host.expect(f"{register.path} while busy", before, after)
    control = next(r.address for r in registers if r.name == "control")
    host.expect("start while busy", 0, await host.write(control, 1))
    host.dut.busy.value = 0
    await _settle(host)


async def _shown(
    host: Host, registers: tuple[Register, ...], driven: Any, generator: random.Random
) -> None:
    """Fields that show an input of the block: random values."""
    fields = {(r.name, f.name): (r, f) for r in registers for f in r.fields}
    for key, port in driven.items():
        register, field = fields[key]
        for _ in range(4):
            value = generator.getrandbits(field.width)
            getattr(host.dut, port).value = value
            await _settle(host)
            word, _ = await host.read(register.address)
            got = (word & field.mask) >> field.low
            host.expect(f"{register.path}.{field.name} shows {port}", value, got)
        getattr(host.dut, port).value = 0
    await _settle(host)
