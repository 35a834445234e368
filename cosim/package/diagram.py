"""Timing diagram of a block, from the cycles that its smoke bench compares with the RTL (WaveDrom).

The golden trace says what every port does in every cycle; the smoke bench shows that the RTL does
just that. So the picture is of simulated cycles, and nobody draws it.
"""

import json
from typing import Any

import numpy as np
import wavedrom

from golden.cycles import Case, StreamTrace

__all__ = ["diagram", "levels", "wave"]

CYCLES = 24


def diagram(case: Case, block: str) -> tuple[str, str]:
    """Return WaveJSON and SVG of the cycles round the first beat that leaves ``case``."""
    trace = case.trace
    firsts = [int(np.argmax(s.valid)) for s in trace.outputs.values() if s.valid.any()]
    last = min(firsts, default=0)
    start = max(0, min(last - CYCLES // 2, trace.cycles - CYCLES))
    stop = min(start + CYCLES, trace.cycles)
    signals: list[Any] = [{"name": "aclk", "wave": "p" + "." * (stop - start - 1)}]
    for streams in (trace.inputs, trace.outputs):
        for name, stream in streams.items():
            signals.append([name, *wave(stream, start, stop)])
    source = {
        "signal": signals,
        "head": {"text": f"{block}, case {case.name}", "tick": start},
        "foot": {"text": "numbers: beats of the stream, in order"},
    }
    text = json.dumps(source, indent=1)
    return text + "\n", wavedrom.render(text).tostring()


def wave(stream: StreamTrace, start: int, stop: int) -> list[dict[str, Any]]:
    """WaveJSON of valid, ready and beat of one stream in cycles ``start`` .. ``stop - 1``."""
    beats = np.where(stream.valid, stream.beat, -1)[start:stop].tolist()
    picture, data = [], []
    for n, beat in enumerate(beats):
        same = n > 0 and beat == beats[n - 1]
        picture.append("." if same else "x" if beat < 0 else "=")
        if beat >= 0 and not same:
            data.append(str(beat))
    return [
        {"name": "valid", "wave": levels(stream.valid[start:stop])},
        {"name": "ready", "wave": levels(stream.ready[start:stop])},
        {"name": "beat", "wave": "".join(picture), "data": data},
    ]


def levels(bits: Any) -> str:
    """WaveJSON's ``wave`` of one bit, cycle by cycle."""
    values = [int(bit) for bit in bits]
    return "".join(
        "." if n and value == values[n - 1] else str(value) for n, value in enumerate(values)
    )
