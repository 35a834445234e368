"""The 64 bytes of an instruction: every field at its place, every flipped bit seen."""

import numpy as np
import pytest

from golden.accelerator.instruction import (
    Cause,
    Instruction,
    MachineError,
    Opcode,
    fields_of,
)


def random_instruction(opcode, seed):
    draw = np.random.Generator(np.random.PCG64(seed))
    fields = {
        name: int(draw.integers(0, 1 << bits)) for name, (_, _, bits) in fields_of(opcode).items()
    }
    return Instruction(opcode, {name: value for name, value in fields.items() if value})


@pytest.mark.parametrize("opcode", Opcode, ids=lambda o: o.name)
def test_fields_share_no_bits(opcode):
    taken = {(0, bit) for bit in range(8)}  # the opcode
    for name, (word, lsb, bits) in fields_of(opcode).items():
        mine = {(word, bit) for bit in range(lsb, lsb + bits)}
        assert not mine & taken, name
        assert lsb + bits <= 32
        assert word < 15
        taken |= mine


@pytest.mark.parametrize("opcode", Opcode, ids=lambda o: o.name)
def test_round_trip(opcode):
    for seed in range(20):
        instruction = random_instruction(opcode, seed)
        data = instruction.encode()
        assert len(data) == 64
        assert Instruction.decode(data) == instruction


def test_words_are_little_endian_and_the_check_closes():
    data = Instruction(Opcode.LOAD, {"destination": 0x123456, "words": 0xABCD}).encode()
    words = np.frombuffer(data, "<u4")
    assert words[[0, 5, 6]].tolist() == [8, 0xABCD, 0x123456]
    assert np.bitwise_xor.reduce(words) == 0x53545053


@pytest.mark.parametrize("opcode", [Opcode.CONV, Opcode.END], ids=lambda o: o.name)
def test_every_flipped_bit_is_seen(opcode):
    data = random_instruction(opcode, 1).encode()
    for bit in range(512):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(MachineError) as error:
            Instruction.decode(bytes(flipped))
        assert error.value.cause is Cause.CHECK


def checked(words):
    words[15] = 0x53545053 ^ int(np.bitwise_xor.reduce(words[:15]))
    return words.astype("<u4").tobytes()


@pytest.mark.parametrize(
    ("word", "value", "cause"),
    [(0, 0, Cause.OPCODE), (0, 11, Cause.OPCODE), (0, 255, Cause.OPCODE),
     (3, 1, Cause.FIELD), (0, 10 | 1 << 31, Cause.FIELD)],
)  # fmt: skip
def test_wrong_words_with_a_right_check(word, value, cause):
    words = np.zeros(16, np.uint32)
    words[0] = Opcode.END
    words[word] = value
    with pytest.raises(MachineError) as error:
        Instruction.decode(checked(words))
    assert error.value.cause is cause


def test_a_truncated_instruction():
    with pytest.raises(MachineError, match="63 bytes") as error:
        Instruction.decode(bytes(63))
    assert error.value.cause is Cause.END


def test_fields_out_of_range():
    with pytest.raises(ValueError, match=r"LOAD words must be in 0\.\.16777215, got 16777216"):
        Instruction(Opcode.LOAD, {"words": 1 << 24})
    with pytest.raises(ValueError, match="END has no field words"):
        Instruction(Opcode.END, {"words": 1})
    with pytest.raises(KeyError, match="END has no field words"):
        Instruction(Opcode.END)["words"]
