"""A program in lines that people read: one instruction a line, with the operation it came from."""

from collections.abc import Iterator

from golden.accelerator.compiler import Program
from golden.accelerator.instruction import Format, Instruction, Opcode, Unit, fields_of
from golden.accelerator.legality import output_count

__all__ = ["listing", "short_name"]

_FLAGS = (
    *("kernel3", "stride2", "upsample", "pad", "narrow", "residual", "sums", "sums_clear"),
    *("transpose", "row_scale", "window", "silu", "image", "sampler_row"),
)


def short_name(name: str) -> str:
    """A layer's name as pictures and narrow tables give it: d0.r1.conv2, m.a0.to_q."""
    for long, short in (
        ("down_blocks.", "d"), ("up_blocks.", "u"), ("mid_block", "m"), (".resnets.", "r"),
        (".attentions.", "a"), (".downsamplers.0.conv", ".down"), (".upsamplers.0.conv", ".up"),
        ("conv_shortcut", "shortcut"), (" codes", ""), ("to_out.0", "out"),
    ):  # fmt: skip
        name = name.replace(long, short)
    return name


def _waits(i: Instruction) -> str:
    parts = [
        f"{name.removeprefix('wait_')}>={i.fields[name]}"
        for name in ("wait_array", "wait_vector", "wait_mover")
        if i.fields.get(name)
    ]
    if i.fields.get("step_unit"):
        unit = Unit(i["step_unit"]).name.lower()
        parts.append(f"{unit}>={i['step_base']}+c..{i['step_cap']}")
    return " ".join(parts)


def _addresses(i: Instruction) -> Iterator[str]:
    """Address fields that mean something."""
    layout = fields_of(i.opcode)
    whole = i.opcode in (Opcode.SAMPLE, Opcode.MATMUL)
    used = {
        "source0": True,
        "source1": i.opcode is Opcode.SAMPLE or bool(i.fields.get("chunks1")),
        "auxiliary": whole or bool(i.fields.get("residual")),
        "destination": True,
    }
    return (name for name, use in used.items() if use and name in layout)


def _shape(i: Instruction) -> str:
    f = i.fields.get
    if i.opcode in (Opcode.LOAD, Opcode.STORE):
        return f"{i['words']} words, data {i['offset']:#x}"
    if i.opcode is Opcode.TABLE:
        return f"step block {i['step_offset']:#x}"
    if i.opcode is Opcode.END:
        return ""
    chunks = f"{f('chunks0', 1)}" + (f"+{f('chunks1')}" if f("chunks1") else "")
    return f"{f('height')}x{f('width')} rows {f('row_first', 0)}+{f('rows', f('height', 0))}, " + (
        f"chunks {chunks} -> {output_count(i) if 'chunks0' in i.fields else 1}"
    )


def _line(number: int, label: str, i: Instruction) -> str:
    flags = [name for name in _FLAGS if i.fields.get(name)]
    if "format" in fields_of(i.opcode):
        flags.insert(0, Format(i["format"]).name.lower())
    if "bank" in fields_of(i.opcode) and not i.fields.get("sampler_row"):
        flags.append(f"set {i['table_set']}/{i['bank']}")
    places = [f"{name} {i[name]}" for name in _addresses(i)]
    columns = (_shape(i), " ".join(flags), ", ".join(places), _waits(i))
    return f"{number:5d}  {i.opcode.name:8s}{label:44s}" + "; ".join(c for c in columns if c)


def listing(program: Program) -> Iterator[str]:
    """Lines of the listing: sizes, then each section."""
    config = program.header.config
    yield (
        f"array {config.size} x {config.size}, stream {config.stream_words} words, "
        f"codes {config.code_words} words, {program.header.steps} steps, "
        f"groups start at {list(program.header.boundaries)}"
    )
    for section, pairs in program.listed.items():
        offset, size = program.header.sections[section]
        yield ""
        yield f"section {section.value}: offset {offset}, {size} bytes"
        for number, (operation, instruction) in enumerate(pairs):
            label = "" if operation is None else operation.label
            yield _line(number, label, instruction).rstrip()
