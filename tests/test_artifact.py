import json
import math

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.calibration.artifact import Artifact
from golden.calibration.artifact_file import canonical_json, pack, tensor_sha256, unpack
from golden.errors import UserError
from tests.small_network import GROUPS, STEPS, small_artifact

ONE_LAYER = "down_blocks.0.resnets.0.conv1"
SHORTCUT = "up_blocks.0.resnets.0.conv_shortcut"


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return small_artifact()


@pytest.fixture(scope="module")
def data(artifact) -> bytes:
    return artifact.to_bytes()


def altered(artifact, name, change):
    """The artifact with one tensor changed and every hash made right again."""
    table = artifact.tensors[name].copy()
    change(table)
    return pack({**artifact.tensors, name: table}, artifact._metadata())


def with_metadata(artifact, **changes):
    return pack(artifact.tensors, {**artifact._metadata(), **changes})


def test_file_round_trip(artifact, data, tmp_path):
    path = tmp_path / "folder" / "a.safetensors"
    artifact.save(path)
    assert path.read_bytes() == data
    assert [file.name for file in path.parent.iterdir()] == ["a.safetensors"]
    loaded = Artifact.load(path)
    assert loaded.to_bytes() == data
    assert loaded.config == artifact.config
    assert loaded.boundaries == artifact.boundaries
    assert loaded.provenance == artifact.provenance
    for name, tensor in artifact.tensors.items():
        assert loaded.tensors[name].dtype == tensor.dtype
        assert (loaded.tensors[name] == tensor).all()


def test_any_safetensors_reader_opens_it(artifact, data):
    tensors = safetensors.numpy.load(data)
    assert tensors.keys() == artifact.tensors.keys()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    for name, entry in header.items():
        if name != "__metadata__":
            start = entry["data_offsets"][0]
            assert start % tensors[name].itemsize == 0


def test_everything_is_an_integer(artifact):
    assert {t.dtype.name for t in artifact.tensors.values()} == {
        "int8", "uint8", "int16", "uint16", "int32", "int64",
    }  # fmt: skip


def test_overflow_bounds_are_stated_and_below_the_limit(artifact):
    assert artifact.overflow.keys() == artifact.layers.keys()
    assert 0 < max(artifact.overflow.values()) < 1 << 31


def test_sampler_and_steps_must_match(artifact):
    artifact.require(sampler="ddim", steps=STEPS)
    artifact.require()
    with pytest.raises(UserError, match="steps: 20 asked for, the artifact was calibrated for 5"):
        artifact.require(steps=20)
    with pytest.raises(UserError, match=r"sampler: 'ddpm' asked for, .* calibrated for 'ddim'"):
        artifact.require(sampler="ddpm")
    with pytest.raises(ValueError, match=r"step must be in 0\.\.4, got 5"):
        artifact.group(STEPS)


@settings(max_examples=120, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_every_flipped_bit_is_refused(place, bit):
    flipped = bytearray(small_artifact().to_bytes())
    flipped[math.floor(place * len(flipped))] ^= 1 << bit
    with pytest.raises(UserError):
        Artifact.from_bytes(bytes(flipped))


@settings(max_examples=80, deadline=None)
@given(place=st.integers(0, 3000), value=st.integers(0, 255))
def test_every_changed_header_byte_is_refused(place, value):
    changed = bytearray(small_artifact().to_bytes())
    if changed[place] == value:
        return
    changed[place] = value
    with pytest.raises(UserError):
        Artifact.from_bytes(bytes(changed))


@settings(max_examples=40, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True))
def test_every_truncation_is_refused(share):
    data = small_artifact().to_bytes()
    with pytest.raises(UserError, match="truncated"):
        Artifact.from_bytes(data[: math.floor(share * len(data))])


@settings(max_examples=30, deadline=None)
@given(extra=st.binary(min_size=1, max_size=9))
def test_appended_bytes_are_refused(extra):
    with pytest.raises(UserError):
        Artifact.from_bytes(small_artifact().to_bytes() + extra)


def test_padding_of_the_header_is_part_of_the_content(artifact, data):
    length = int.from_bytes(data[:8], "little")
    longer = (length + 8).to_bytes(8, "little") + data[8 : 8 + length] + b" " * 8
    with pytest.raises(UserError, match="header: not as written"):
        Artifact.from_bytes(longer + data[8 + length :])


def test_another_format_version_is_named(data):
    length = int.from_bytes(data[:8], "little")
    text = data[8 : 8 + length].replace(b'{\\"format\\":2,', b'{\\"format\\":3,')
    assert len(text) == length
    with pytest.raises(UserError, match="format version 3; this program reads 2"):
        Artifact.from_bytes(data[:8] + text + data[8 + length :])


def test_other_safetensors_files_are_no_artifacts(tmp_path):
    path = tmp_path / "other.safetensors"
    path.write_bytes(safetensors.numpy.save({"a": np.zeros(3, dtype=np.float32)}))
    with pytest.raises(UserError, match=rf"artifact {path}: is a safetensors file, but not an"):
        Artifact.load(path)
    with pytest.raises(UserError, match=r"absent.*: cannot be read"):
        Artifact.load(tmp_path / "absent")
    with pytest.raises(UserError, match="cannot be read"):
        Artifact.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "index", "value", "text"),
    [
        ("conv_in.weight", (0, 0, 0, 0), -128, r"-128 at \[0, 0, 0, 0\]; allowed: -127\.\.127"),
        ("conv_in.M", (1, 2), 32767, r"32767 at \[1, 2\]; allowed: 0 or 32768\.\.65535"),
        ("conv_in.n", (0, 0), 48, r"48 at \[0, 0\]; allowed: 0\.\.47"),
        (f"{ONE_LAYER}.silu.M0", (0,), 5, r"allowed: 0 or 32768\.\.65535"),
        (f"{ONE_LAYER}.silu.n0", (1,), 32, r"32 at \[1\]; allowed: 0\.\.31"),
        (f"{ONE_LAYER}.silu.z", (0,), 113, r"113 at \[0\]; allowed: 0\.\.112"),
        (f"{ONE_LAYER}.silu.k", (0,), 0, r"0 at \[0\]; allowed: 1\.\.4"),
        (f"{SHORTCUT}.edge.k", (0, 1), 5, r"5 at \[0, 1\]; allowed: 0\.\.4"),
        (f"{SHORTCUT}.edge.k", (0, 0), 1, "must be 0 for the first segment"),
        (f"{SHORTCUT}.edge.n", (0, 1), 0, r"segments must differ by a power of two"),
        ("conv_in.edge.k", (0, 0), 1, "must be 0 for the first segment"),
    ],
)
def test_tables_out_of_range_are_refused(artifact, name, index, value, text):
    def change(table):
        table[index] = value

    with pytest.raises(UserError, match=text) as caught:
        Artifact.from_bytes(altered(artifact, name, change))
    assert name.rsplit(".", 1)[0] in str(caught.value)


def test_stated_overflow_must_be_that_of_the_weights(artifact):
    def change(table):
        table[...] = 127

    with pytest.raises(UserError, match="overflow: the stated bounds differ"):
        Artifact.from_bytes(altered(artifact, "conv_in.weight", change))


def test_an_accumulator_that_could_overflow_is_refused(artifact):
    # 12 bits times 127 times 9 * 8 inputs is far below 2**31; make the bound itself smaller
    from golden.calibration import overflow

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overflow, "ACC_LIMIT", max(artifact.overflow.values()))
        with pytest.raises(UserError, match=r"layer .*, timestep group \d: .*\|acc\| may reach"):
            Artifact.from_bytes(artifact.to_bytes())


@pytest.mark.parametrize("boundaries", [[0], [STEPS], [3, 2], [2, 2], [-1]])
def test_boundaries_out_of_order_are_refused(artifact, boundaries):
    with pytest.raises(UserError, match=r"boundaries: .* must increase strictly in 1\.\.4"):
        Artifact.from_bytes(with_metadata(artifact, boundaries=boundaries))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"boundaries": [1, 2, 3]}, r"\.M: shape \(2, .*allowed: \(4, "),
        ({"steps": STEPS + 1}, r"\.b: shape \(5, .*allowed: \(6, "),
        ({"steps": "5"}, "metadata steps: must be int, got '5'"),
        ({"steps": True}, "metadata steps: must be int, got True"),
        ({"boundaries": [1.5]}, "metadata boundaries: must be a list of int"),
        ({"stream_fraction": 13}, r"stream_fraction: 13; allowed: 4\.\.12"),
        ({"wide": ["conv_middle"]}, "wide: conv_middle is no layer"),
        ({"wide": ["conv_in"]}, r"tensor conv_out\.silu\.k: is missing"),
        ({"config": {"sample_size": 8, "act_fn": "gelu"}}, "config: .*act_fn = 'gelu'"),
        ({"extra": 1}, "metadata extra: is not known"),
    ],
)
def test_metadata_that_contradicts_is_refused(artifact, changes, text):
    with pytest.raises(UserError, match=text):
        Artifact.from_bytes(with_metadata(artifact, **changes))


def test_missing_and_foreign_tensors_are_refused(artifact):
    fewer = dict(artifact.tensors)
    del fewer["conv_in.b"]
    with pytest.raises(UserError, match=r"tensor conv_in\.b: is missing"):
        Artifact.from_bytes(pack(fewer, artifact._metadata()))
    more = {**artifact.tensors, "conv_in.c": np.zeros(1, dtype=np.int8)}
    with pytest.raises(UserError, match=r"tensor conv_in\.c: does not belong"):
        Artifact.from_bytes(pack(more, artifact._metadata()))
    other = {**artifact.tensors, "conv_in.b": artifact.tensors["conv_in.b"].astype(np.uint16)}
    with pytest.raises(UserError, match=r"conv_in\.b: dtype uint16; allowed: int16"):
        Artifact.from_bytes(pack(other, artifact._metadata()))


def test_hashes_cover_dtype_shape_and_bytes():
    zeros = np.zeros((2, 3), dtype=np.int16)
    assert tensor_sha256(zeros) == tensor_sha256(zeros.astype(">i2"))
    others = [zeros.reshape(3, 2), zeros.astype(np.uint16), zeros + np.int16(1)]
    assert tensor_sha256(zeros) not in {tensor_sha256(t) for t in others}


@settings(max_examples=50, deadline=None)
@given(
    shapes=st.dictionaries(
        st.text("abcé.\"\\", min_size=1, max_size=6).filter(lambda n: n != "__metadata__"),
        st.tuples(st.sampled_from(["int8", "uint8", "int16", "uint16"]),
                  st.lists(st.integers(0, 4), max_size=3)),
        max_size=6,
    ),
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_container_returns_what_it_was_given(shapes, seed):
    rng = np.random.default_rng(seed)
    tensors = {
        name: rng.integers(0, 120, shape).astype(dtype) for name, (dtype, shape) in shapes.items()
    }
    metadata = {"seed": seed, "text": "é\n", "nested": [{"a": None}]}
    got, found = unpack(pack(tensors, metadata))
    assert found == metadata
    assert got.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert got[name].shape == tensor.shape
        assert (got[name] == tensor).all()


def test_json_has_no_nan():
    with pytest.raises(ValueError, match="Out of range float"):
        canonical_json({"a": math.nan})


def test_an_interrupted_save_leaves_nothing(artifact, tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"old")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        artifact.save(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_groups_are_counted(artifact):
    assert artifact.groups == GROUPS
    assert [artifact.group(i) for i in range(STEPS)] == [
        int(i >= artifact.boundaries[0]) for i in range(STEPS)
    ]


ATTENTION = "mid_block.attentions.0"


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("mid_block.resnets.0.norm1.E", 0, r"E: 0; allowed: 1\.\."),
        ("mid_block.resnets.0.norm1.E", -1, r"E: -1; allowed: 1\.\."),
        ("mid_block.resnets.0.norm1.E", (1 << 46) + 1, r"allowed: 1\.\.70368744177664"),
        (f"{ATTENTION}.logit.M", 1, r"allowed: 0 or 32768\.\.65535"),
        (f"{ATTENTION}.logit.n", 48, r"allowed: 0\.\.47"),
        (f"{ATTENTION}.value.M", 32767, r"allowed: 0 or 32768\.\.65535"),
        (f"{ATTENTION}.value.n", 48, r"allowed: 0\.\.47"),
        (f"{ATTENTION}.value.n", 38, r"value\.n: 38 at \[0\]; allowed: 0\.\.37 with 16 pixels"),
        ("sampler.reach", 0, r"0 at \[0\]; allowed: 1\.\.32767"),
        ("sampler.reach", 32768, r"32768 at \[0\]; allowed: 1\.\.32767"),
        ("sampler.coefficients", -(1 << 31), r"-2147483648 at \[0, 0\]; allowed: \+-2147483647"),
        (f"{ATTENTION}.to_q.edge.k", 1, "must be 0 for the first segment"),
        ("conv_out.silu.n0", 32, r"allowed: 0\.\.31"),
    ],
)
def test_norm_attention_and_sampler_tables_are_checked(artifact, name, value, text):
    with pytest.raises(UserError, match=text) as caught:
        Artifact.from_bytes(altered(artifact, name, lambda table: table.fill(value)))
    assert name.rsplit(".", 1)[0] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_gamma_too_large_for_eps_is_refused(artifact):
    name = "mid_block.resnets.0.norm1"
    tensors = {
        **artifact.tensors,
        f"{name}.gamma": np.full_like(artifact.tensors[f"{name}.gamma"], 32767),
        f"{name}.E": np.array([1], dtype=np.int64),
    }
    # 3 channels of 4x4: F = 27 - (bits(32767 * 2**16 * 48) - 15)
    assert artifact.norms[name] == 48
    with pytest.raises(UserError, match=rf"norm {name}: F may fall to 5, 7 is allowed"):
        artifact.replace(tensors=tensors)
    from golden.calibration.artifact_checks import check_norm

    with pytest.raises(UserError, match=r"norm n: F may fall to -5, 7 is allowed"):
        check_norm("n", 1 << 16, {"n.E": tensors[f"{name}.E"], "n.gamma": tensors[f"{name}.gamma"]})
    with pytest.raises(UserError, match=r"norm n: 65537 elements in a group; allowed: 65536"):
        check_norm("n", (1 << 16) + 1, {})


def test_the_largest_variance_stays_in_64_bits():
    """Half of the elements at each limit: N*S2 - S1**2 + E is as large as it can be."""
    from golden.calibration.artifact_checks import E_MAX
    from golden.group_norm import ELEMENTS_MAX, group_norm, statistics

    x = np.full((1, 16, 64, 64), -32768, dtype=np.int16)
    x[:, :, ::2] = 32767
    S1, S2 = (int(s[0, 0]) for s in statistics(x, 1))
    assert x.size == ELEMENTS_MAX
    assert 2**46 - 2**32 < S2 <= 2**46
    assert 2**62 - 2**48 < ELEMENTS_MAX * S2 - S1**2 + E_MAX < 2**62
    gamma, beta = np.full(16, 2048), np.zeros(16, dtype=np.int64)
    u = group_norm(x, gamma, beta, 1, E_MAX)
    assert {int(value) for value in np.unique(u)} == {-128, 128}


@pytest.mark.parametrize("sign", [-127, 127])
def test_the_longest_softmax_row_stays_in_its_words(sign):
    """4096 equal logits of 64x64 pixels and the largest shift that is loaded."""
    from golden.calibration.artifact_checks import SHIFT_MAX, check_attention
    from golden.softmax import row_scale, weighted_sum

    pixels = 64 * 64
    largest = SHIFT_MAX + 1 - (127 * pixels).bit_length()
    check_attention("a", pixels, {"a.value.n": np.array([largest], dtype=np.uint8)})
    with pytest.raises(UserError, match=rf"a\.value\.n: {largest + 1} at \[1\]; allowed: 0\.\.29"):
        table = np.array([0, largest + 1], dtype=np.uint8)
        check_attention("a", pixels, {"a.value.n": table})
    e = np.full((1, pixels), 127)
    P, n = row_scale(e.sum(axis=-1), 65535, largest)
    assert int(n[0]) == SHIFT_MAX
    assert 127 * pixels * 128 < 1 << 31
    assert 127 * pixels * 128 * int(P[0]) < 1 << 47
    # M = 2**15 with n = 15 is a factor of 1
    assert int(weighted_sum(e, np.full((pixels, 1), sign), 1 << 15, 15)[0, 0]) == sign


def test_the_largest_sampler_sum_stays_in_64_bits():
    from golden.sampler import sampler_step

    top = (1 << 31) - 1
    for x, expected in ((32767, 32767), (-32768, -32768)):
        assert int(sampler_step([x], [x], [top] * 6, 32767, [x])[0]) == expected
    exact = 4 * top * 32768
    assert exact < 1 << 62


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"sampler": "euler"}, "sampler: 'euler'; allowed: ddim, ddpm"),
        ({"checkpoint_sha256": "abc"}, "checkpoint_sha256: 'abc'; allowed: 64 digits"),
        ({"wide": ["conv_in", "conv_out", "conv_in"]}, "wide: .* names a layer twice"),
        ({"wide": [f"{ATTENTION}.to_q"]}, r"wide edge .*to_q: not available"),
        ({"steps": 0}, "steps: 0; allowed: 1 or more"),
        ({"steps": 10**30}, r"\.b: shape"),
    ],
)
def test_metadata_that_means_nothing_is_refused(artifact, changes, text):
    with pytest.raises(UserError, match=text):
        Artifact.from_bytes(with_metadata(artifact, **changes))


def test_other_channels_out_than_in_are_refused(artifact):
    config = {**artifact.config.to_dict(), "out_channels": 2}
    with pytest.raises(UserError, match="config: out_channels 2; allowed: in_channels, 1"):
        Artifact.from_bytes(with_metadata(artifact, config=config))


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_not_json_are_refused(data, constant):
    length = int.from_bytes(data[:8], "little")
    number = f'"steps\\":{STEPS}'.encode()
    text = data[8 : 8 + length].replace(number, f'"steps\\":{constant}'.encode())
    assert constant.encode() in text
    text = text.rstrip(b" ")
    text += b" " * (-len(text) % 8)
    with pytest.raises(UserError, match="is a safetensors file, but not an artifact"):
        Artifact.from_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])


@settings(max_examples=60, deadline=None)
@given(place=st.floats(0, 1), extra=st.binary(min_size=1, max_size=9))
def test_every_insertion_is_refused(place, extra):
    data = small_artifact().to_bytes()
    at = math.floor(place * len(data))
    with pytest.raises(UserError) as caught:
        Artifact.from_bytes(data[:at] + extra + data[at:])
    assert "\n" not in str(caught.value)


def test_the_embedded_artifact_loads_in_a_second():
    import time

    from golden.calibration.artifact import embedded_artifact

    embedded_artifact()
    start = time.process_time()
    embedded_artifact()
    assert time.process_time() - start < 1
