"""Write tflite_single_rounding.csv: requantization by TFLite's published single-rounding rule.

The rule is that of ``MultiplyByQuantizedMultiplier(int32_t x, int32_t quantized_multiplier, int
shift)`` under ``TFLITE_SINGLE_ROUNDING`` (tensorflow/lite/kernels/internal/common.cc). In
unbounded integers: ``total = 31 - shift``, ``result = floor((x * quantized_multiplier +
2**(total - 1)) / 2**total)``, for shift in -31..30 and a result that fits int32. Our constants map
to ``quantized_multiplier = M * 2**15``, ``shift = 16 - n``.

Run ``python tests/data/make_tflite_vectors.py`` to write the file again; it is deterministic.
"""

import hashlib
import random
from fractions import Fraction
from math import floor
from pathlib import Path

SOURCE = "tensorflow/tensorflow, tensorflow/lite/kernels/internal/common.cc"
COMMIT = "4713c15347f0f98c4be76b4d4aadca319a03512b"
PATH = Path(__file__).with_name("tflite_single_rounding.csv")
ROWS = 6000


def single_rounding(x: int, quantized_multiplier: int, shift: int) -> int:
    """Return x * quantized_multiplier / 2**(31 - shift), rounded half up, as an exact fraction."""
    return floor(Fraction(x * quantized_multiplier, 2 ** (31 - shift)) + Fraction(1, 2))


def rows() -> list[str]:
    """Return "x,quantized_multiplier,shift,result": corners, ties of both signs, random values."""
    rng = random.Random(20240711)
    found: dict[str, None] = {}
    corners = [-(2**31), -(2**31) + 1, -3, -2, -1, 0, 1, 2, 3, 2**31 - 1]
    operands = [
        (x, m, n)
        for x in corners
        for m in (2**15, 2**15 + 1, 3 * 2**14, 2**16 - 1)
        for n in (0, 1, 2, 15, 16, 17, 31, 32, 46, 47)
    ]
    while len(operands) < 3 * ROWS:
        m = rng.randrange(2**15, 2**16)
        n = rng.randrange(48)
        x = rng.randrange(-(2**31), 2**31) >> rng.randrange(31)
        if rng.random() < 0.3 and 0 < n < 32:  # an odd multiple of half an output step
            m, x = 2**15, (2 * (x >> n) + 1) << n >> 1
            n = min(n + 15, 47)
        operands.append((x, m, n))
    for x, m, n in operands:
        result = single_rounding(x, m << 15, 16 - n)
        if -(2**31) <= x < 2**31 and -(2**31) <= result < 2**31:
            found[f"{x},{m << 15},{16 - n},{result}"] = None
    return list(found)[:ROWS]


def main() -> None:
    """Write the vectors with their source and the hash of their rows."""
    body = "\n".join(rows()) + "\n"
    digest = hashlib.sha256(body.encode()).hexdigest()
    PATH.write_text(
        "# MultiplyByQuantizedMultiplier with TFLITE_SINGLE_ROUNDING: result for each operand row\n"
        f"# rule: {SOURCE}\n"
        f"# at commit {COMMIT}; written from it by make_tflite_vectors.py\n"
        f"# sha256 of the rows below the column names: {digest}\n"
        "x,quantized_multiplier,shift,result\n" + body
    )


if __name__ == "__main__":
    main()
