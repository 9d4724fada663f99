"""Stratified draws: the samples of a batch take the quantiles of the law, and nobody is left out on average."""

import math

import pytest
import torch
from torch import nn

import resflow_lite as rf
from resflow_lite.estimators.noise import Noise
from resflow_lite.estimators.series import expected_terms, staircase

LAWS = [rf.Geometric(0.5), rf.Geometric(0.25), rf.Poisson(2.0), rf.Matched(0.6)]


class Uniform:
    """N is 0, 1, 2 or 3: a law of a reader's own, of which stratified draws ask the survival function alone."""

    def __str__(self):
        return "a law of one's own"

    def sample(self, n, generator=None):
        raise AssertionError("a stratified draw asks for no sample")

    def survival(self, k):
        return max(0.0, 1 - k / 4)


class Diagonal(nn.Module):
    """g_i(x) = J_i x on the line, another slope for each sample: with signs as probes, v^T J^k v is J^k exactly."""

    def __init__(self, slopes):
        super().__init__()
        self.slopes = nn.Parameter(slopes[:, None])

    def forward(self, x):
        return self.slopes[: len(x)] * x


def every_draw(law, batch):
    """(chance, noise) for all that a stratified draw can come to, as far as chances reach 1e-17."""
    last = 0
    while round(batch * law.survival(last + 1)) >= 1:
        last += 1
    left = [1.0]
    while left[-1] > 1e-17:
        left.append(law.survival(last + len(left)) / law.survival(last))
    for more, less in zip(left, left[1:]):
        for offset in range(batch):
            noise = Noise()
            noise.quantile, noise.offset = (more + less) / 2, offset
            yield (more - less) / batch, noise


@pytest.mark.parametrize("batch", [1, 5, 8])
@pytest.mark.parametrize("law", [*LAWS, Uniform()], ids=str)
def test_every_weight_is_one_on_average_for_every_sample(law, batch):
    n_exact, n_terms = 1, 4 if isinstance(law, Uniform) else 7
    mean = torch.zeros(n_terms, batch)
    for chance, noise in every_draw(law, batch):
        drawn = rf.Roulette(law, n_exact, "stratified").draw(batch, noise)
        samples = (torch.arange(batch) + drawn.shift) % batch  # by rank
        for k, (weight, count) in enumerate(zip(drawn[:n_terms], drawn.counts)):
            mean[k, samples[:count]] += chance * weight
    torch.testing.assert_close(mean, torch.ones_like(mean), rtol=0, atol=1e-12)


@pytest.mark.parametrize("gradient, memory", [("series", "store"), *(("neumann", m) for m in ("recompute", "store"))])
@pytest.mark.parametrize("law", [rf.Geometric(0.5), rf.Poisson(2.0)], ids=str)
def test_value_and_gradient_are_those_of_the_logarithm_for_every_sample(law, gradient, memory):
    slopes, x = torch.tensor([0.5, -0.4, 0.3, 0.1, -0.2]), torch.ones(5, 1)
    estimator = rf.PowerSeries(rf.Roulette(law, 1, "stratified"))
    block = rf.ResidualBlock(Diagonal(slopes), estimator, gradient=gradient, memory=memory).train()
    value, weights = torch.zeros(5), torch.arange(1.0, 6)
    # the slope of a sample stands at its rank here, so that ranks are undone by turning the slopes with them
    total = torch.zeros(5)
    for chance, noise in every_draw(law, 5):
        turned = torch.roll(torch.arange(5), -int(estimator.terms.draw(5, noise).shift))
        block.branch.slopes = nn.Parameter(slopes[turned][:, None])
        _, log_det = block(x, noise)
        value += chance * log_det.detach()
        (weights * log_det).sum().backward()
        total[turned] += chance * block.branch.slopes.grad[:, 0]
    torch.testing.assert_close(value, slopes.log1p(), rtol=0, atol=1e-6 if isinstance(law, rf.Poisson) else 1e-10)
    torch.testing.assert_close(total, weights / (1 + slopes), rtol=0, atol=1e-4)


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_it_costs_what_the_law_says_and_always_nearly_the_same(law):
    costs = []
    for quantile in torch.linspace(0, 1, 2001)[1:-1].tolist():
        weights, counts = staircase(law, 64, quantile)
        assert all(a >= b for a, b in zip(counts, counts[1:]))
        costs.append(sum(counts) / 64)
    costs = torch.tensor(costs)
    assert costs.mean() == pytest.approx(expected_terms(law), abs=0.06)
    assert costs.std() < 0.1  # one N for all samples: 1.4 and more


def test_products_count_samples_that_stop_early(strong_dense):
    x = torch.randn(64, 4)
    noise = Noise()
    noise.quantile, noise.offset = 0.99, 0
    estimate = rf.log_det(strong_dense(4), x, rf.PowerSeries(rf.Roulette(n_exact=2, draws="stratified")), noise)
    assert estimate.products == 2 + (32 + 16 + 8 + 4 + 2 + 1) / 64


@pytest.mark.parametrize("parts", [2, 4])
@pytest.mark.parametrize("control_variate", [False, True])
def test_parts_of_a_batch_give_the_numbers_of_the_whole(strong_dense, parts, control_variate):
    estimator = rf.PowerSeries(
        rf.Roulette(rf.Geometric(0.4), 1, "stratified"), n_probes=2, control_variate=control_variate
    )
    block, x = rf.ResidualBlock(strong_dense(4), estimator).train(), torch.randn(16, 4)
    for seed in range(20):
        _, whole = block(x, torch.Generator().manual_seed(seed))
        for part in range(parts):
            noise = Noise()
            noise.manual_seed(seed)
            noise.part, noise.parts = part, parts
            torch.testing.assert_close(block(x[part::parts], noise)[1], whole[part::parts])


@pytest.mark.parametrize("memory", ["recompute", "backward_in_forward", "store"])
@pytest.mark.parametrize(
    "own, control_variate", [(True, False), (True, True), (False, False)], ids=["own", "own, variate", "autograd"]
)
def test_every_way_to_keep_memory_gives_the_gradient_of_the_same_draw(strong_dense, memory, own, control_variate):
    branch = strong_dense(4)
    g = branch if own else nn.Sequential(*branch.steps)
    estimator = rf.PowerSeries(rf.Roulette(rf.Geometric(0.4), 1, "stratified"), control_variate=control_variate)
    x, weights, found = torch.randn(12, 4), torch.rand(12), []
    for module, mode in ((branch, "store"), (g, memory)):
        block, at = rf.ResidualBlock(module, estimator, memory=mode).train(), x.clone().requires_grad_()
        y, log_det = block(at, torch.Generator().manual_seed(3))
        loss = (weights * log_det).sum() + y.square().sum()
        found.append(torch.autograd.grad(loss, [at, *module.parameters()]))
    for one, other in zip(*found):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12 * float(one.abs().max() + 1))


def test_the_mean_over_a_batch_has_less_variance_than_with_one_draw_for_all(strong_dense):
    branch, x, n = strong_dense(4), 0.3 * torch.randn(64, 4), 400
    variance = {}
    for draws in ("block", "stratified"):
        estimator, generator = (
            rf.PowerSeries(rf.Roulette(rf.Geometric(0.2), 2, draws)),
            torch.Generator().manual_seed(0),
        )
        values = torch.stack([rf.log_det(branch, x, estimator, generator).value.detach().mean() for _ in range(n)])
        variance[draws] = float(values.var())
    assert variance["stratified"] < 0.3 * variance["block"]  # a ratio of two variances is known to 10 % here


def test_an_unknown_way_to_draw_is_refused_and_the_old_name_is_understood():
    with pytest.raises(rf.SettingsError, match="draws='batch'.*block, sample, stratified"):
        rf.Roulette(draws="batch")
    assert rf.Roulette(rf.Poisson(2.0), 3, per_sample=True) == rf.Roulette(rf.Poisson(2.0), 3, "sample")
    assert math.isclose(expected_terms(rf.Geometric(0.5)), 1)
