"""Random requests to a memory, for the blocks between streams and AXI4; beats of 8 bytes.

Each function returns fields of ``cosim.bus.traffic.Traffic``.
"""

from typing import Any

import numpy as np

from cosim.stimulus import generator
from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.units.state import State
from golden.numbers import Int64
from golden.order import Wait

__all__ = ["BYTES", "axi_reader", "axi_writer", "weight_loader"]

BYTES = 8
BASES = {"tables": 0x1000, "program": 0x1_0000_0FC0, "weights": 0x2_0F80, "data": 0x7FFF_F000}
LENGTHS = (1, 2, 15, 16, 17, 40)  # beats; a burst has 16
REQUESTS = 8
REGION = 1 << 13
COMMANDS = {"offset": [0, 64, 1024, 512], "passes": [1, 3, 1, 2], "tiles": [1, 2, 3, 1],
            "chunks": [1, 2, 1, 3]}  # fmt: skip


def _requests(rng: np.random.Generator) -> dict[str, Int64]:
    offset = BYTES * rng.integers(0, REGION // BYTES - max(LENGTHS), REQUESTS)
    return {"offset": offset, "beats": rng.choice(LENGTHS, REQUESTS)}


def _places(request: dict[str, Int64]) -> Int64:
    """Return the word of every beat that ``request`` asks for."""
    pairs = zip(request["offset"] // BYTES, request["beats"], strict=True)
    return np.concatenate([np.arange(first, first + count) for first, count in pairs])


def _answer(region: bytes, request: dict[str, Int64]) -> dict[str, Int64]:
    """Return data and last of every beat."""
    places = _places(request)
    last = np.zeros(len(places), dtype=np.int64)
    last[np.cumsum(request["beats"]) - 1] = 1
    return {"data": np.frombuffer(region, dtype="<i8")[places].astype(np.int64), "last": last}


def axi_reader(seed: int) -> dict[str, Any]:
    """Four clients, each with a region of its own."""
    rng = generator(seed, 1)
    payloads, memory = {}, {}
    for name, base in BASES.items():
        memory[base] = rng.bytes(REGION)
        payloads[f"request_{name}"] = _requests(rng)
        payloads[f"data_{name}"] = _answer(memory[base], payloads[f"request_{name}"])
    plain = {"drain": 0} | {f"base_{name}": base for name, base in BASES.items()}
    return {"payloads": payloads, "memory": memory, "plain": plain}


def axi_writer(seed: int) -> dict[str, Any]:
    """Requests that may overlap; a beat in four is masked."""
    rng = generator(seed, 2)
    request, before = _requests(rng), rng.bytes(REGION)
    places = _places(request)
    words = rng.integers(-(1 << 63), (1 << 63) - 1, len(places))
    strobe = (rng.random(len(places)) < 0.75).astype(np.int64)
    after = np.frombuffer(before, dtype="<i8").copy()
    for place, word in zip(places[strobe == 1], words[strobe == 1], strict=True):
        after[place] = word
    return {
        "payloads": {"request": request, "data": {"data": words, "strobe": strobe}},
        "memory": {BASES["weights"]: before},
        "kept": {BASES["weights"]: after.tobytes()},
        "plain": {"drain": 0, "base": BASES["weights"]},
    }


def weight_loader(seed: int) -> dict[str, Any]:
    """Rows that golden's state reads; data come after their request."""
    size, region = 8, generator(seed, 3).bytes(REGION)
    state = State(AcceleratorConfig(size=size), {"weights": region}, bytearray(64))
    requests: list[tuple[int, int]] = []
    rows = []
    for offset, passes, tiles, chunks in zip(*COMMANDS.values(), strict=True):
        found = state.weights(offset, (chunks, passes * size, size))
        rows.append(np.repeat(found[:, None], tiles, axis=1).reshape(-1, size))
        bytes_ = passes * size * size
        for chunk in range(chunks):
            requests += [(offset + chunk * bytes_, bytes_ // BYTES)] * tiles
    request = dict(zip(("offset", "beats"), np.array(requests).T, strict=True))
    first = np.cumsum(np.r_[0, request["beats"]]).tolist()
    return {
        "payloads": {
            "i": {name: np.array(values) for name, values in COMMANDS.items()},
            "request": request,
            "data": _answer(region, request),
            "o": {"weights": np.concatenate(rows)},
        },
        "order": {
            "data": [Wait(first[n], {"request": n + 1}) for n in range(len(requests))],
        },
    }
