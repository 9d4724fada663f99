"""The checks that are for everybody: each passes the package's own parts and refuses a planted error."""

import math
from dataclasses import dataclass, replace

import pytest
import torch

import resflow_lite as rf
from resflow_lite.layers.activations import ACTIVATIONS, make_activation


class OffByOne(rf.Geometric):
    def survival(self, k):
        return (1 - self.p) ** (k + 1)  # P(N > k)


@dataclass(frozen=True)
class WrongGradient(rf.PowerSeries):
    """The right value, with the gradient of the next term's coefficient."""

    def neumann(self, g, draw):
        estimate, u = super().neumann(g, draw)
        return estimate, 1.1 * u


@dataclass(frozen=True)
class MixedUp(rf.PowerSeries):
    """Right on average over the batch, each sample with the value of its neighbour."""

    def neumann(self, g, draw):
        estimate, u = super().neumann(g, draw)
        return replace(estimate, value=estimate.value.roll(1)), u


@pytest.mark.parametrize(
    "estimator",
    [
        rf.Exact(),
        rf.PowerSeries(rf.Roulette(rf.Geometric(0.5), n_exact=2)),
        rf.PowerSeries(rf.Roulette(rf.Matched(), n_exact=0, draws="sample"), n_probes=2),
    ],
    ids=("exact", "geometric", "matched"),
)
def test_unbiased_estimators_pass(estimator):
    report = rf.check_unbiased(estimator, calls=400)
    assert abs(report.numbers["z"]) < 5
    assert report.numbers["contraction"] == pytest.approx(0.65, abs=0.02)
    assert "400 calls" in str(report)


@pytest.mark.parametrize(
    ("estimator", "what"),
    [
        (rf.PowerSeries(rf.Truncated(5)), "off by"),
        (rf.PowerSeries(rf.Roulette(OffByOne(0.5))), "it is off by -0.2"),
        (WrongGradient(), "its gradient is off by"),
        (MixedUp(rf.Truncated(12)), "it is off by"),
    ],
    ids=("truncated", "off by one", "gradient", "mixed up"),
)
def test_planted_biases_are_refused_with_the_number(estimator, what):
    with pytest.raises(rf.CheckFailed, match=what):
        rf.check_unbiased(estimator, calls=500)


def test_an_easy_map_cannot_tell_a_truncated_series(strong_dense):
    easy = rf.LipschitzBranch([rf.LipschitzLinear(4, 4, 0.4), rf.Tanh(), rf.LipschitzLinear(4, 4, 0.4)])
    assert rf.check_unbiased(rf.PowerSeries(rf.Truncated(5)), easy, torch.randn(4, 4), calls=200)
    with pytest.raises(rf.CheckFailed, match="biased"):
        rf.check_unbiased(rf.PowerSeries(rf.Truncated(5)), strong_dense(), torch.zeros(4, 4), calls=400)


def test_the_control_variate_is_checked_on_a_branch_that_has_one(strong_dense):
    branch = strong_dense(coeff=0.85)
    estimator = rf.PowerSeries(rf.Roulette(rf.Matched()), control_variate=True)
    assert rf.check_unbiased(estimator, branch, 0.1 * torch.randn(4, 4), calls=400)


def test_an_estimator_without_a_gradient_is_checked_for_its_value():
    assert rf.check_unbiased(rf.Krylov(4), calls=200, gradient=False)
    with pytest.raises(rf.CheckFailed, match="biased"):
        rf.check_unbiased(rf.Krylov(2), calls=400, gradient=False)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_activations_of_the_package_pass(name):
    report = rf.check_activation(make_activation(name))
    assert 0.9 < report.numbers["steepest"] < 1.01


class SmallConstant(rf.Tanh):
    lipschitz = 0.99


class WrongSlope(rf.Tanh):
    def derivatives(self, z, order, scale=None):
        value, slope, bend = super().derivatives(z, 2, scale)
        return (value, 0.99 * slope, bend)[: order + 1]


class WrongBend(rf.Tanh):
    def derivatives(self, z, order, scale=None):
        value, slope, bend = super().derivatives(z, 2, scale)
        return (value, slope, -bend)[: order + 1]


class WrongScale(rf.LipSwish):
    def scale(self):
        return super().scale() ** 2

    def derivatives(self, z, order, scale=None):
        return super().derivatives(z, order, scale.sqrt() if scale is not None else None)


class NotANumber(rf.Tanh):
    def derivatives(self, z, order, scale=None):
        found = super().derivatives(z, order, scale)
        return tuple(torch.where(z > 3, math.nan, part) for part in found)


class SmallPair(rf.CLipSwish):
    def constant(self, p):
        return self.lipschitz  # right for p = 2 only


@pytest.mark.parametrize(
    ("activation", "what"),
    [
        (SmallConstant, "constant 0.99 in the 1-norm"),
        (WrongSlope, "the first derivative"),
        (WrongBend, "the second derivative"),
        (WrongScale, "the derivative in the learned scale"),
        (NotANumber, "derivative at z = 3 is nan"),
        (SmallPair, "1-norm"),
    ],
)
def test_planted_errors_of_activations_are_refused(activation, what):
    with pytest.raises(rf.CheckFailed, match=what):
        rf.check_activation(activation())


class Forgetful(rf.Bijection):
    def forward(self, x, generator=None):
        return 2 * x, x.new_zeros(len(x))

    def inverse(self, y):
        return y / 2


class NoWayBack(rf.ActNorm):
    def inverse(self, y):
        return super().inverse(y) + 1e-6


class TwoFaced(rf.ActNorm):
    def forward(self, x, generator=None):
        y, log_det = super().forward(x)
        return y + 1e-6, log_det


def test_a_bijection_passes_and_is_left_as_it_was(strong_dense):
    block = rf.ResidualBlock(strong_dense())
    report = rf.check_bijection(block, 0.1 * torch.randn(5, 4))
    assert report.numbers["log_det_error"] < 1e-9 and report.numbers["inverse_error"] < 1e-9
    assert isinstance(block.train_estimator, rf.PowerSeries)  # Exact() was for the check alone


@pytest.mark.parametrize(
    ("bijection", "what"),
    [
        (Forgetful(), "log-determinant wrong by 2.08e"),  # 3 log 2
        (NoWayBack(3), "inverse does not undo forward: x comes back wrong by 1.00e-06"),
        (TwoFaced(3), "forward and transform differ by 1.00e-06"),
    ],
)
def test_planted_errors_of_bijections_are_refused(bijection, what):
    with pytest.raises(rf.CheckFailed, match=what):
        rf.check_bijection(bijection, torch.randn(4, 3))


def noise(split):
    seed = ("train", "validation", "test").index(split)
    images = torch.randint(17, (40, 1, 4, 4), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)
    return rf.Images(images, torch.zeros(40, dtype=torch.int64), 17)


def with_images(change):
    def changed(split):
        images, labels, n_levels = noise(split)
        return rf.Images(change(images, split), labels, n_levels)

    return changed


def test_images_pass():
    assert rf.check_images(noise).numbers == dict(train=40, validation=40, test=40)
    assert "1,300 train" in str(rf.check_images("digits"))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (with_images(lambda images, split: images.float()), "torch.float32 images"),
        (with_images(lambda images, split: images * 15), "n_levels = 17"),
        (with_images(lambda images, split: images[..., :3] if split == "test" else images), "test: images"),
        (with_images(lambda images, split: images[:30]), "labels"),
        (with_images(lambda images, split: noise("train").images), "40 of 40 test images are training images"),
    ],
)
def test_planted_errors_of_data_are_refused(data, what):
    with pytest.raises(rf.CheckFailed, match=what):
        rf.check_images(data)
