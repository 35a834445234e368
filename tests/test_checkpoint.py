"""Checkpoint folders: what loads, and the one-line error for each way to be wrong."""

import json

import numpy as np
import pytest
import safetensors.torch
import torch

from golden.errors import UserError
from golden.network import checkpoint as checkpoints
from golden.network.checkpoint import embedded_checkpoint, load_checkpoint, save_checkpoint
from golden.network.config import UNetConfig
from golden.network.presets import EMBEDDED
from golden.network.samplers import SchedulerConfig
from golden.network.unet import UNet

torch.set_num_threads(1)

CONFIG = UNetConfig(
    sample_size=(8, 8),
    in_channels=1,
    out_channels=1,
    block_out_channels=(4, 8),
    down_block_types=("DownBlock2D", "AttnDownBlock2D"),
    up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    layers_per_block=1,
    attention_head_dim=None,
    norm_num_groups=2,
)
WEIGHTS = "diffusion_pytorch_model.safetensors"
PICKLED = "diffusion_pytorch_model.bin"
OLD = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


@pytest.fixture
def weights():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UNet(CONFIG).state_dict()


@pytest.fixture
def folder(tmp_path, weights):
    save_checkpoint(tmp_path / "net", CONFIG, SchedulerConfig(), weights)
    return tmp_path / "net"


def complaint(folder):
    with pytest.raises(UserError) as caught:
        load_checkpoint(folder)
    text = str(caught.value)
    assert "\n" not in text
    assert str(folder) in text
    return text


def rewrite(folder, **changes):
    state = safetensors.torch.load_file(folder / WEIGHTS)
    for name, change in changes.items():
        state[name] = change(state[name])
    safetensors.torch.save_file(state, folder / WEIGHTS)


def same(state, weights):
    assert state.keys() == weights.keys()
    assert all(torch.equal(state[name], weights[name]) for name in weights)


def test_round_trip(folder, weights):
    loaded = load_checkpoint(folder)
    assert loaded.config == CONFIG
    assert loaded.scheduler == SchedulerConfig()
    assert len(loaded.sha256) == 64
    assert not loaded.unet.training
    same(loaded.unet.state_dict(), weights)


def test_equal_weights_give_equal_files(folder, tmp_path, weights):
    save_checkpoint(tmp_path / "again", CONFIG, SchedulerConfig(), weights)
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_embedded():
    loaded = embedded_checkpoint()
    assert loaded.config.sample_size == (16, 16)
    assert sum(p.numel() for p in loaded.unet.parameters()) <= 700_000
    files = [path for path in EMBEDDED.iterdir() if path.name != "artifact.safetensors"]
    assert sum(path.stat().st_size for path in files) <= 3_000_000
    record = json.loads((EMBEDDED / "training.json").read_text())
    assert record["finished"]
    assert record["losses"][-1][1] < 0.035


def test_embedded_predicts_noise():
    # at step 600 of 1000 a picture is mostly noise: a trained network sees nearly all of it
    loaded = embedded_checkpoint()
    alpha = float(loaded.scheduler.alphas_cumprod()[600])
    noise = torch.randn(8, 1, 16, 16, generator=torch.manual_seed(0))
    x = alpha**0.5 * -torch.ones_like(noise) + (1 - alpha) ** 0.5 * noise
    with torch.no_grad():
        eps = loaded.unet(x, torch.full((8,), 600))
    assert (eps - noise).square().mean() < 0.05


def test_pipeline_folder_and_pickled_weights(folder, tmp_path, weights):
    pipeline = tmp_path / "pipeline"
    (pipeline / "unet").mkdir(parents=True)
    (pipeline / "scheduler").mkdir()
    (folder / "config.json").rename(pipeline / "unet" / "config.json")
    (folder / "scheduler_config.json").rename(pipeline / "scheduler" / "scheduler_config.json")
    torch.save(weights, pipeline / "unet" / PICKLED)
    same(load_checkpoint(pipeline).unet.state_dict(), weights)


def test_old_names_of_attention(folder, weights):
    old = {}
    for name, tensor in weights.items():
        for new, before in OLD.items():
            name = name.replace(new, before)  # noqa: PLW2901 - at most one of them matches
        old[name] = tensor
    assert old.keys() != weights.keys()
    safetensors.torch.save_file(old, folder / WEIGHTS)
    same(load_checkpoint(folder).unet.state_dict(), weights)


def test_missing_folder(tmp_path):
    assert complaint(tmp_path / "nowhere").endswith("no such folder")


@pytest.mark.parametrize("name", ["config.json", "scheduler_config.json"])
def test_missing_config(folder, name):
    (folder / name).unlink()
    assert f"{name}: cannot be read (No such file or directory)" in complaint(folder)


def test_missing_weights(folder):
    (folder / WEIGHTS).unlink()
    assert f"holds neither {WEIGHTS} nor {PICKLED}" in complaint(folder)


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_truncated_weights(folder, kept):
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[:kept])
    assert "truncated or not safetensors" in complaint(folder)


@pytest.mark.parametrize("kept", [0, 100, -100])
def test_truncated_pickle(folder, weights, kept):
    (folder / WEIGHTS).unlink()
    torch.save(weights, folder / PICKLED)
    (folder / PICKLED).write_bytes((folder / PICKLED).read_bytes()[:kept])
    assert f"{PICKLED}: truncated, or holds more than tensors" in complaint(folder)


def test_pickle_runs_no_code(folder, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    (folder / WEIGHTS).unlink()
    torch.save({"conv_in.weight": Evil()}, folder / PICKLED)
    assert "truncated, or holds more than tensors" in complaint(folder)
    assert not (tmp_path / "owned").exists()


def test_pickle_of_something_else(folder):
    (folder / WEIGHTS).unlink()
    torch.save([1, 2], folder / PICKLED)
    assert "must hold named tensors, got list" in complaint(folder)


def test_missing_tensor(folder, weights):
    del weights["conv_out.bias"]
    safetensors.torch.save_file(weights, folder / WEIGHTS)
    assert "1 tensors missing, first conv_out.bias" in complaint(folder)


def test_unexpected_tensor(folder, weights):
    safetensors.torch.save_file({**weights, "extra.weight": torch.zeros(1)}, folder / WEIGHTS)
    assert "1 tensors not in the network of config.json, first extra.weight" in complaint(folder)


def test_wrong_shape(folder):
    rewrite(folder, **{"conv_in.bias": lambda t: t[:3].clone()})
    assert "conv_in.bias must have shape (4,), got (3,)" in complaint(folder)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.int32])
def test_wrong_dtype(folder, dtype):
    rewrite(folder, **{"conv_in.bias": lambda t: t.to(dtype)})
    assert f"conv_in.bias must be float32, got {dtype}" in complaint(folder)


@pytest.mark.parametrize(("value", "name"), [(np.nan, "NaN"), (np.inf, "Inf"), (-np.inf, "Inf")])
def test_not_finite(folder, value, name):
    rewrite(folder, **{"mid_block.resnets.0.conv1.weight": lambda t: t.fill_(value)})
    text = complaint(folder)
    assert f"mid_block.resnets.0.conv1.weight holds {name}; allowed: finite values" in text


@pytest.mark.parametrize("name", ["config.json", "scheduler_config.json"])
@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "is not JSON"), ("[]", "must hold one JSON object, got list"), ('{"mix": 1}', "mix")],
)
def test_bad_config(folder, name, text, message):
    (folder / name).write_text(text)
    complaint_text = complaint(folder)
    assert name in complaint_text
    assert message in complaint_text


def test_a_failed_save_leaves_the_old_files(folder, weights, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fail(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints.safetensors.torch, "save_file", fail)
    weights["conv_in.bias"] = weights["conv_in.bias"] + 1
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(folder, CONFIG, SchedulerConfig(), weights)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
