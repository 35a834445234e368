"""Data set, training and pictures: small runs on the CPU, and the errors a user can cause."""

import gzip
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch

from golden.errors import UserError
from golden.network.checkpoint import load_checkpoint
from golden.network.config import UNetConfig
from golden.network.dataset import load_images, read_idx, resize
from golden.network.image import grid, to_bytes, write_png
from golden.network.samplers import SchedulerConfig
from golden.network.training import Trainer, TrainingOptions, pick_device, train

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
OPTIONS = TrainingOptions(steps=6, batch=4, warmup=2, seed=7)
IMAGES = "train-images-idx3-ubyte.gz"
CPU = torch.device("cpu")


def pictures(count=10, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 28, 28), dtype=np.uint8)


def idx(images, magic=0x803):
    return struct.pack(">4I", magic, *images.shape) + images.tobytes()


def run(out, options=OPTIONS, **arguments):
    return train(CONFIG, resize(pictures(), 8), options, out, CPU, **arguments)


def files(folder):
    wanted = (path for path in folder.iterdir() if path.name != "training.json")  # has times in it
    return {path.name: path.read_bytes() for path in wanted}


def test_reads_idx(tmp_path):
    images = pictures()
    (tmp_path / IMAGES).write_bytes(gzip.compress(idx(images)))
    assert np.array_equal(read_idx(tmp_path / IMAGES), images)
    assert load_images(tmp_path, 16).shape == (10, 1, 16, 16)


def test_missing_data_set_says_how_to_get_it(tmp_path):
    with pytest.raises(UserError) as caught:
        load_images(tmp_path)
    assert str(caught.value) == (
        f"data set file {tmp_path / IMAGES} is missing; "
        "`apt install dataset-fashion-mnist` puts it there, or name its folder with --data"
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"not gzip", "cannot be read"),
        (gzip.compress(idx(pictures()))[:-300], "cannot be read"),
        (gzip.compress(b"short"), "needs a header of 16 bytes, got 5"),
        (gzip.compress(idx(pictures(), magic=0x801)), "magic must be 0x00000803, got 0x00000801"),
        (gzip.compress(idx(pictures())[:-1]), "must hold 10 x 28 x 28 bytes, got 7839"),
    ],
    # Named by hand: gzip writes the time of day into its header, and workers must agree on names.
    ids=["not gzip", "cut", "short", "wrong magic", "a byte missing"],
)
def test_damaged_data_set(tmp_path, data, message):
    (tmp_path / IMAGES).write_bytes(data)
    with pytest.raises(UserError, match=message):
        load_images(tmp_path)


def test_resize_pads_averages_and_scales():
    images = np.zeros((1, 28, 28), np.uint8)
    images[0, 0, 0], images[0, 27, 26:] = 255, (100, 155)
    at32, at16 = resize(images, 32)[0, 0], resize(images, 16)[0, 0]
    assert at32[2, 2] == 1
    assert at32[:2].max() == at32[:, :2].max() == at32[30:].max() == -1
    assert at16[1, 1] == np.float32(255 / 4 / 127.5 - 1)
    assert at16[14, 14] == np.float32(255 / 4 / 127.5 - 1)


@pytest.mark.parametrize("size", [28, 64, 0])
def test_resize_refuses_other_sizes(size):
    with pytest.raises(UserError, match=f"sample_size = {size} has no Fashion-MNIST images"):
        resize(pictures(), size)


def test_same_seed_same_bytes(tmp_path):
    first, second = run(tmp_path / "a"), run(tmp_path / "b")
    assert first["losses"] == second["losses"]
    assert first["finished"]
    assert files(tmp_path / "a") == files(tmp_path / "b")
    run(tmp_path / "c", TrainingOptions(steps=6, batch=4, warmup=2, seed=8))
    assert files(tmp_path / "a") != files(tmp_path / "c")
    load_checkpoint(tmp_path / "a")


def test_interrupted_and_resumed_equals_uninterrupted(tmp_path):
    run(tmp_path / "whole", log_every=2)

    def interrupt(step, loss, rate):
        if step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", log_every=2, report=interrupt)
    assert list(files(tmp_path / "cut")) == ["training_state.pt"]
    with pytest.raises(UserError, match=r"unfinished run; add --resume or give another --out"):
        run(tmp_path / "cut")
    with pytest.raises(UserError, match=r"resume: batch = 5, but the run began with 4"):
        run(tmp_path / "cut", TrainingOptions(steps=6, batch=5, warmup=2, seed=7), resume=True)
    record = run(tmp_path / "cut", log_every=2, resume=True)
    assert [step for step, _ in record["losses"]] == [2, 4, 6]
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_draws_depend_on_the_step_alone():
    seen = []
    for record_each_step in (False, True):
        trainer = Trainer(CONFIG, SchedulerConfig(), resize(pictures(), 8), OPTIONS, CPU)
        for _ in range(4):
            trainer.advance()
            seen.append(trainer.noise.clone())
            if record_each_step:
                trainer.record()
    assert all(torch.equal(a, b) for a, b in zip(seen[:4], seen[4:], strict=True))
    assert not any(torch.equal(seen[0], other) for other in seen[1:4])


def test_starts_from_the_weights_of_a_checkpoint(tmp_path):
    run(tmp_path / "a")
    first = load_checkpoint(tmp_path / "a")
    still = TrainingOptions(steps=2, batch=4, warmup=2, seed=1, learning_rate=1e-12)
    record = run(tmp_path / "b", still, start=first)
    second = load_checkpoint(tmp_path / "b").unet.state_dict()
    for name, weights in first.unet.state_dict().items():
        torch.testing.assert_close(second[name], weights, rtol=0, atol=1e-9)
    assert record["start"] == first.sha256
    other = replace(first, config=replace(CONFIG, layers_per_block=2))
    with pytest.raises(UserError, match="start: the checkpoint is of another configuration"):
        run(tmp_path / "c", still, start=other)


def test_time_limit_writes_checkpoint_and_state(tmp_path):
    record = run(tmp_path, minutes=0, log_every=3)
    assert (record["steps_done"], record["finished"]) == (3, False)
    assert "training_state.pt" in files(tmp_path)
    load_checkpoint(tmp_path)
    assert run(tmp_path, log_every=3, resume=True)["finished"]
    assert "training_state.pt" not in files(tmp_path)


def test_resume_without_or_with_damaged_state(tmp_path):
    with pytest.raises(UserError, match=r"training_state.pt is missing; start without --resume"):
        run(tmp_path, resume=True)
    (tmp_path / "training_state.pt").write_bytes(b"PK")  # how a zip file begins
    with pytest.raises(
        UserError, match=r"training_state.pt is damaged or belongs to another network"
    ):
        run(tmp_path, resume=True)


def test_divergence_is_an_error_and_leaves_no_checkpoint(tmp_path):
    images = np.full((4, 1, 8, 8), np.nan, np.float32)
    with pytest.raises(UserError, match="training diverged at step 6: loss is nan"):
        train(CONFIG, images, OPTIONS, tmp_path, CPU)
    assert files(tmp_path) == {}


def test_it_learns(tmp_path):
    options = TrainingOptions(steps=60, batch=16, warmup=5, learning_rate=0.01)
    losses = run(tmp_path, options, log_every=20)["losses"]
    assert losses[-1][1] < 0.7 * losses[0][1]


def test_rate_and_decay():
    options = TrainingOptions(steps=110, warmup=10, learning_rate=0.1, ema_decay=0.9)
    assert [round(options.rate(s), 6) for s in (0, 9, 60, 110)] == [0.01, 0.1, 0.05, 0.0]
    assert [round(options.decay(s), 6) for s in (0, 15, 1000)] == [0.0, 0.875, 0.9]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps = 0 is not allowed"),
        ({"batch": 0}, "batch = 0 is not allowed"),
        ({"seed": -1}, "seed = -1 is not allowed"),
        ({"learning_rate": 0.0}, "learning_rate = 0.0 is not allowed"),
        ({"ema_decay": 1.5}, "ema_decay = 1.5 is not allowed"),
        ({"precision": "int8"}, "precision 'int8' is not known; allowed: float32, bf16"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(UserError, match=message):
        TrainingOptions(**options)


def test_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == pick_device("cpu") == CPU
    with pytest.raises(UserError, match="device 'cuda' is not there"):
        pick_device("cuda")
    with pytest.raises(UserError, match="device 'tpu' is not known; allowed: auto, cpu, cuda"):
        pick_device("tpu")


def test_output_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        run(tmp_path / "file")


def test_bytes_of_an_image():
    x = np.array([-2, -1, -1 + 1 / 250, 0, 1, 9])
    assert to_bytes(x).tolist() == [0, 0, 1, 128, 255, 255]


def test_grid_places_images():
    images = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 2, 2), np.uint8)
    sheet = grid(images, columns=2, scale=2, gap=1)
    assert sheet.shape == (11, 11, 1)
    assert [sheet[1, 1, 0], sheet[1, 6, 0], sheet[6, 1, 0], sheet[6, 6, 0]] == [0, 1, 2, 255]


def test_png_is_identical_from_run_to_run(tmp_path):
    sheet = grid(to_bytes(resize(pictures(), 16)), columns=5)
    for name in ("a.png", "b.png"):
        write_png(tmp_path / name, sheet)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
