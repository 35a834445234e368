"""Feature networks: the files that come with the package, making them, TorchScript, refusals."""

import gzip
import struct

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from cosim.cli import app
from golden.errors import UserError
from golden.evaluation.feature_training import make_features, train_classifier, whitening_of
from golden.evaluation.features import DATA, Classifier, FeatureNetwork, load_torchscript
from golden.evaluation.reference import load_reference
from golden.evaluation.tensor_file import read_tensors, write_tensors
from golden.network.dataset import LABELS, load_bytes, load_images, load_labels, read_idx

torch.set_num_threads(1)
CPU = torch.device("cpu")


def labelled(count, size, seed=0):
    """Bright squares whose place is their class."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 10, count)
    images = draw.integers(0, 60, (count, 1, size, size), dtype=np.uint8)
    step = size // 5
    for image, label in zip(images, labels, strict=True):
        row, col = label // 5 * size // 2, label % 5 * step
        image[0, row : row + size // 2, col : col + step] = 255
    return torch.from_numpy(images), torch.from_numpy(labels)


def idx(values, magic):
    return struct.pack(f">{1 + values.ndim}I", magic, *values.shape) + values.tobytes()


@pytest.fixture
def data_folder(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    draw = np.random.default_rng(1)
    for split, stem in (("train", "train"), ("test", "t10k")):
        images = draw.integers(0, 256, (300, 28, 28), dtype=np.uint8)
        labels = draw.integers(0, 10, 300).astype(np.uint8)
        assert LABELS[split].startswith(stem)
        with gzip.open(folder / f"{stem}-images-idx3-ubyte.gz", "wb") as stream:
            stream.write(idx(images, 0x803))
        with gzip.open(folder / f"{stem}-labels-idx1-ubyte.gz", "wb") as stream:
            stream.write(idx(labels, 0x801))
    return folder


@pytest.mark.parametrize("size", [16, 32])
def test_embedded_network_gives_64_features_the_same_on_repeat_in_any_batch(size):
    features = FeatureNetwork.load(size)
    images = labelled(12, size)[0]
    first = features(images)
    assert first.shape == (12, 64) and first.dtype == torch.float32
    assert torch.equal(first, features(images))
    features.batch = 5
    torch.testing.assert_close(features(images), first, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("size", [16, 32])
def test_embedded_statistics_are_those_of_whitened_features(size):
    reference = load_reference(DATA / f"reference_fashion{size}.safetensors")
    assert reference.count == 10000 and reference.features == FeatureNetwork.load(size).sha256
    assert reference.mean.abs().max() < 1e-3
    assert (reference.covariance - torch.eye(64)).abs().max() < 1e-3
    assert reference.floor is not None and 0 < reference.floor < 0.2
    assert sum(file.stat().st_size for file in DATA.glob("*.safetensors")) < 3_000_000


def test_images_of_wrong_type_or_size_are_refused():
    features = FeatureNetwork.load(16)
    with pytest.raises(UserError, match=r"must be \(N, 1, 16, 16\)"):
        features(torch.zeros(2, 1, 32, 32, dtype=torch.uint8))
    with pytest.raises(UserError, match="must be uint8"):
        features(torch.zeros(2, 1, 16, 16))
    with pytest.raises(UserError, match="allowed: 16, 32"):
        FeatureNetwork.load(64)


def test_training_learns_and_the_same_seed_gives_the_same_weights():
    images, labels = labelled(400, 16)
    losses = []
    made = [
        train_classifier(
            images,
            labels,
            CPU,
            epochs=2,
            batch=50,
            seed=3,
            report=lambda _, loss: losses.append(loss),
        )
        for _ in range(2)
    ]
    for a, b in zip(made[0].parameters(), made[1].parameters(), strict=True):
        assert torch.equal(a, b)
    assert losses[1] < losses[0] and losses[:2] == losses[2:]


def test_whitening_gives_mean_0_and_identity_and_refuses_a_flat_feature():
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(500, 6, generator=draw) @ torch.randn(6, 6, generator=draw) + 3
    mean, matrix, condition = whitening_of(features)
    white = ((features - mean) @ matrix).double()
    assert white.mean(dim=0).abs().max() < 1e-5
    assert (torch.cov(white.T) - torch.eye(6)).abs().max() < 1e-4
    assert condition > 1
    with pytest.raises(UserError, match="cannot be whitened"):
        whitening_of(torch.cat([features, features[:, :1]], dim=1))


def test_files_made_are_files_loaded(tmp_path):
    train, test = labelled(300, 16), labelled(200, 16, seed=1)
    record = make_features(16, train, test, tmp_path, CPU, epochs=1)
    features = FeatureNetwork.load(16, folder=tmp_path)
    reference = load_reference(tmp_path / "reference_fashion16.safetensors")
    assert reference.features == features.sha256 and reference.floor == record["floor"]
    values = features(test[0]).double()
    assert values.mean(dim=0).abs().max() < 0.01
    assert (torch.cov(values.T) - torch.eye(64)).abs().max() < 0.05


@pytest.mark.parametrize("place", [0.3, 0.6, 0.99])
def test_an_altered_or_truncated_file_is_refused(tmp_path, place):
    path = tmp_path / "features16.safetensors"
    whole = (DATA / path.name).read_bytes()
    at = int(len(whole) * place)
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(UserError, match="altered"):
        FeatureNetwork.load(16, folder=tmp_path)
    path.write_bytes(whole[:at])
    with pytest.raises(UserError, match="truncated"):
        FeatureNetwork.load(16, folder=tmp_path)
    path.unlink()
    with pytest.raises(UserError, match="no such file"):
        FeatureNetwork.load(16, folder=tmp_path)


def test_a_file_of_another_size_or_network_is_refused(tmp_path):
    path = tmp_path / "features16.safetensors"
    path.write_bytes((DATA / "features32.safetensors").read_bytes())
    with pytest.raises(UserError, match="is for size 32"):
        FeatureNetwork.load(16, folder=tmp_path)
    tensors, record = read_tensors(DATA / path.name, "stepscale features 1")
    del tensors["classes.bias"]
    write_tensors(path, "stepscale features 1", tensors, record)
    with pytest.raises(UserError, match="does not fit"):
        FeatureNetwork.load(16, folder=tmp_path)
    path.write_bytes((DATA / "reference_fashion16.safetensors").read_bytes())
    with pytest.raises(UserError, match="format must be"):
        FeatureNetwork.load(16, folder=tmp_path)


class Scripted(torch.nn.Module):
    """Takes ``return_features``, as the usual Inception file does."""

    def forward(self, images: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        if return_features:
            return images.float().mean(dim=(2, 3))
        return images.float().sum(dim=(1, 2, 3))


class Plain(torch.nn.Module):
    """Gives features without being asked; refuses anything but three channels."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert images.shape[1] == 3
        return images.float().flatten(2).amax(dim=2)


class Scores(torch.nn.Module):
    """Gives no features at all."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.float().sum()


def script(module, path):
    with pytest.warns(DeprecationWarning):
        torch.jit.script(module).save(str(path))
    return path


@pytest.mark.parametrize("module", [Scripted, Plain])
def test_torchscript_features(tmp_path, module):
    features = load_torchscript(script(module(), tmp_path / "net.pt"))
    assert features.width == 3 and len(features.sha256) == 64
    grey = labelled(7, 16)[0]
    out = features(grey)
    assert out.shape == (7, 3)
    assert torch.equal(out[:, 0], out[:, 2])
    images = torch.arange(2 * 3 * 4, dtype=torch.uint8).reshape(2, 3, 2, 2)
    wanted = images.float().mean(dim=(2, 3)) if module is Scripted else images.float().amax((2, 3))
    assert torch.equal(features(images), wanted)


def test_what_is_no_feature_module_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"must give \(N, features\)"):
        load_torchscript(script(Scores(), tmp_path / "scores.pt"))
    path = tmp_path / "text.pt"
    path.write_text("no module")
    with pytest.raises(UserError, match="not a TorchScript file"):
        load_torchscript(path)
    with pytest.raises(UserError, match="not a TorchScript file"):
        load_torchscript(tmp_path / "missing.pt")


def test_labels_and_bytes_are_read_and_checked(data_folder):
    labels = load_labels(data_folder)
    assert labels.shape == (300,) and labels.max() <= 9
    images = load_bytes(data_folder, 16, "test")
    assert images.shape == (300, 1, 16, 16) and images.dtype == np.uint8
    exact = (load_images(data_folder, 16, "test") + 1) * 127.5
    assert np.abs(images - exact).max() <= 0.5 + 1e-4
    path = data_folder / LABELS["train"]
    with pytest.raises(UserError, match="magic must be 0x00000803, got 0x00000801"):
        read_idx(path)
    with gzip.open(path, "wb") as stream:
        stream.write(idx(np.full(4, 11, np.uint8), 0x801))
    with pytest.raises(UserError, match="label 11 is above 9"):
        load_labels(data_folder)
    with gzip.open(path, "wb") as stream:
        stream.write(struct.pack(">2I", 0x801, 9) + bytes(4))
    with pytest.raises(UserError, match="must hold 9 bytes, got 4"):
        load_labels(data_folder)


def test_the_command_writes_all_files_and_its_record(tmp_path, data_folder):
    out, record = tmp_path / "out", tmp_path / "record.json"
    options = ["--data", str(data_folder), "--out", str(out), "--json", str(record)]
    result = CliRunner().invoke(app, ["features", "--epochs", "1", "--device", "cpu", *options])
    assert result.exit_code == 0, result.output
    names = {path.name for path in out.iterdir()}
    wanted = {
        f"{kind}{size}.safetensors"
        for kind in ("features", "reference_fashion")
        for size in (16, 32)
    }
    assert names == wanted and record.exists()


def test_the_network_has_the_size_that_is_documented():
    assert sum(p.numel() for p in Classifier().parameters()) == 201386
