"""The paper count: beats by hand, every multiplication of the network once, and the targets."""

import pytest

from golden.accelerator.timing.budget import budget, default_wide, table
from golden.calibration.artifact import embedded_artifact
from golden.calibration.topology import macs
from golden.network.presets import preset


def test_beats_by_hand():
    lines = {line.name: line for line in budget(preset("fashion16"), embedded_artifact().wide, 16)}
    assert lines["conv_in"].beats == 256 * 1 * 2 * 2  # nine taps in one chunk, hi and lo
    assert lines["down_blocks.0.resnets.0.conv1"].beats == 256 * 9 * 2 * 2
    assert lines["up_blocks.0.resnets.0.conv_shortcut"].beats == 64 * 8 * 2 * 4
    assert lines["conv_out"].beats == 256 * 9 * 2 * 2 * 1
    assert lines["mid_block.attentions.0 QK, PV"].beats == 2 * 64 * 4 * 4


@pytest.mark.parametrize("name", ["fashion16", "fashion32"])
def test_every_multiplication_is_counted_once(name):
    config = preset(name)
    lines = [line for line in budget(config, default_wide(config), 16) if "QK" not in line.name]
    assert sum(line.network_macs for line in lines) == sum(macs(config).values())


@pytest.mark.parametrize(("name", "step"), [("fashion16", 0.90), ("fashion32", 0.95)])
def test_the_design_reaches_its_targets_on_paper(name, step):
    config = preset(name)
    wide = embedded_artifact().wide if name == "fashion16" else default_wide(config)
    for lines, target in (
        (budget(config, wide, 16), step),
        ([line for line in budget(config, wide, 16) if line.kernel == 3], 0.95),
    ):
        cycles = sum(line.beats + line.exposed for line in lines)
        assert sum(line.macs for line in lines) / (256 * cycles) > target


def test_the_table_has_a_line_a_layer():
    text = table(preset("fashion16"), embedded_artifact().wide, 16)
    assert text.count("\n") == 2 + len(macs(preset("fashion16"))) + 4 + 1 + 1
    assert "**step** | 279040 |" in text
