"""Fréchet distances: against the formula, torchmetrics on images, and resampling by hand."""

import dataclasses

import pytest
import torch
from torchmetrics.image.fid import FrechetInceptionDistance

from golden.errors import UserError
from golden.evaluation.fid import (
    FeatureNetwork,
    Reference,
    _Resampler,
    embedded_reference,
    fid_change,
    frechet_distance,
    load_reference,
    save_reference,
)

torch.set_num_threads(1)


def exactly(mean, root, count=400, seed=0):
    """Features whose mean is ``mean`` and whose covariance is ``root @ root.T``, to rounding."""
    raw = torch.randn(count, len(mean), generator=torch.Generator().manual_seed(seed)).double()
    raw = raw - raw.mean(dim=0)
    factor = torch.linalg.cholesky(torch.cov(raw.T))
    white = torch.linalg.solve_triangular(factor, raw.T, upper=False).T
    return white @ root.T + mean


def normal(count, width, seed, scale=1.0, shift=0.0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=draw) * scale + shift


def test_distance_of_two_gaussians_with_commuting_covariances():
    # |m - m'|^2 + sum (s - s')^2
    first, second = torch.tensor([1.0, 2.0, 0.5]).double(), torch.tensor([2.0, 1.0, 4.0]).double()
    a = exactly(torch.zeros(3).double(), torch.diag(first))
    b = exactly(torch.tensor([1.0, 0.0, -2.0]).double(), torch.diag(second), seed=1)
    wanted = 5 + float((first - second).square().sum())
    assert frechet_distance(b, Reference.of(a)) == pytest.approx(wanted, rel=1e-9)


def test_distance_of_two_gaussians_with_general_covariances():
    draw = torch.Generator().manual_seed(5)
    roots = [torch.randn(4, 4, generator=draw).double() for _ in range(2)]
    a, b = (exactly(torch.zeros(4).double(), root, seed=i) for i, root in enumerate(roots))
    # tr((S S')^(1/2)) is the nuclear norm of R^T R', S = R R^T
    cross = torch.linalg.svdvals(roots[0].T @ roots[1]).sum()
    wanted = float(roots[0].square().sum() + roots[1].square().sum() - 2 * cross)
    assert frechet_distance(b, Reference.of(a)) == pytest.approx(wanted, rel=1e-8)


def test_the_same_images_have_distance_0_and_the_same_bits_on_repeat():
    features = normal(300, 8, 0)
    reference = Reference.of(features)
    assert abs(frechet_distance(features, reference)) < 1e-8
    other = normal(300, 8, 1, 1.2)
    assert frechet_distance(other, reference) == frechet_distance(other, reference)


class InDouble(torch.nn.Module):
    """The feature network as torchmetrics wants it."""

    num_features = 64

    def __init__(self, features):
        super().__init__()
        self.features = features

    def forward(self, images):
        return self.features(images).double()


def test_equals_torchmetrics_on_images():
    features = FeatureNetwork.load(16)
    draw = torch.Generator().manual_seed(0)
    real = torch.randint(0, 256, (300, 1, 16, 16), generator=draw, dtype=torch.uint8)
    fake = (real.flip(0).float() * 0.8).to(torch.uint8)
    metric = FrechetInceptionDistance(feature=InDouble(features)).set_dtype(torch.float64)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    got = frechet_distance(features(fake), Reference.of(features(real)))
    assert got == pytest.approx(float(metric.compute()), rel=1e-8)


@pytest.mark.parametrize("width", [3, 64])
def test_resampled_distance_equals_torchmetrics_on_the_drawn_images(width):
    reference = Reference.of(normal(500, width, 0, 1.5))
    features = normal(400, width, 1, 1.0, 0.2).double()
    drawn = torch.randint(0, 400, (400,), generator=torch.Generator().manual_seed(2))
    weights = torch.bincount(drawn, minlength=400).double()
    got = float(_Resampler(reference).distance(features, weights))
    assert got == pytest.approx(frechet_distance(features[drawn], reference), rel=1e-8)


def test_a_change_is_the_difference_and_its_interval_holds_it():
    reference = Reference.of(normal(2000, 6, 0))
    a = normal(1000, 6, 1)
    b = a + 0.5
    found = fid_change(a, b, reference, seed=4, resamples=100)
    assert found.change == found.fid_b - found.fid_a
    assert found.low < found.change < found.high
    assert found.resolved
    assert found == fid_change(a, b, reference, seed=4, resamples=100)
    other = fid_change(a, b, reference, seed=5, resamples=100)
    assert other.change == found.change and other.low != found.low


def test_no_change_is_not_resolved_and_pairs_narrow_the_interval():
    reference = Reference.of(normal(2000, 6, 0))
    a = normal(1000, 6, 1)
    tiny = a + 0.001 * normal(1000, 6, 2)
    paired = fid_change(a, tiny, reference)
    assert not paired.resolved or abs(paired.change) < 1e-4
    same = fid_change(a, a, reference)
    assert not same.resolved and same.low == same.high == same.change == 0
    independent = fid_change(a, normal(1000, 6, 3), reference)
    assert not independent.resolved
    assert paired.high - paired.low < (independent.high - independent.low) / 10


def test_the_interval_has_the_width_of_fresh_samples():
    reference = Reference.of(normal(4000, 4, 0))

    def pair(seed):
        a = normal(800, 4, seed)
        return a, a * 1.1 + 0.05 * normal(800, 4, 1000 + seed)

    changes = torch.tensor(
        [
            frechet_distance(b, reference) - frechet_distance(a, reference)
            for a, b in map(pair, range(10, 60))
        ]
    )
    first, second = pair(1)
    found = fid_change(first, second, reference, resamples=200)
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(float(changes.std()), rel=0.35)


def test_a_reference_survives_the_file(tmp_path):
    path = tmp_path / "reference.safetensors"
    reference = Reference.of(normal(50, 3, 0), floor=0.25, features="ab", provenance="noise")
    save_reference(path, reference)
    again = load_reference(path)
    for field in dataclasses.fields(Reference):
        mine, theirs = getattr(reference, field.name), getattr(again, field.name)
        assert torch.equal(mine, theirs) if isinstance(mine, torch.Tensor) else mine == theirs


@pytest.mark.parametrize("name", ["fashion16", "fashion32"])
def test_embedded_references_load(name):
    reference = embedded_reference(name)
    assert reference.width == 64 and "test images" in reference.provenance
    with pytest.raises(UserError, match="no reference"):
        embedded_reference("other")


def test_every_flipped_byte_of_a_reference_is_refused(tmp_path):
    path = tmp_path / "reference.safetensors"
    save_reference(path, Reference.of(normal(50, 3, 0)))
    whole = path.read_bytes()
    for at in range(len(whole)):
        if whole[at : at + 1] == b" ":  # padding of the header: may be any white space
            continue
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x11]) + whole[at + 1 :])
        with pytest.raises(UserError):
            load_reference(path)


def test_refusals_say_what_is_wrong(tmp_path):
    reference = Reference.of(normal(50, 3, 0))
    features = normal(20, 3, 1)
    broken = features.clone()
    broken[3, 1] = torch.nan
    for wrong, text in (
        (features[:, :2], r"must be \(N, 3\)"),
        (features[:1], "2 images or more"),
        (broken, "NaN"),
    ):
        with pytest.raises(UserError, match=text):
            frechet_distance(wrong, reference)
    with pytest.raises(UserError, match="the same images, got 20 and 19"):
        fid_change(features, features[:19], reference)
    with pytest.raises(UserError, match="resamples = 1 "):
        fid_change(features, features, reference, resamples=1)
    eye = torch.eye(3).double()
    with pytest.raises(UserError, match="symmetric"):
        Reference(torch.zeros(3).double(), eye + torch.tensor([0, 1, 0]), 5)
    with pytest.raises(UserError, match="finite float64"):
        Reference(torch.zeros(3), eye, 5)
    with pytest.raises(UserError, match="2 images or more"):
        Reference.of(features[:1])
    with pytest.raises(UserError, match=r"\(F,\) and \(F, F\)"):
        Reference(torch.zeros(2).double(), eye, 5)
