"""The estimator's expectation, exactly (all outcomes summed) and by z-score, for values and gradients.

g(x) = A x, so that the truth is known in closed form: log det(I + A), gradient (I + A)^-T.
"""

import pytest
import torch

import resflow_lite as rf
from resflow_lite.checks import z_score
from resflow_lite.estimators.logdet import SeriesDraw
from resflow_lite.layers.gradient import residual_step

LAWS = [rf.Geometric(0.5), rf.Geometric(0.15), rf.Poisson(2.0)]
N_EXACT = [0, 1, 2, 5]


def matrix(radius, d=3, seed=0):
    """A matrix with spectral radius `radius`, far from symmetric, with a negative and two complex eigenvalues."""
    a = torch.zeros(d, d)
    a[0, 0] = -radius
    a[1:3, 1:3] = 0.9 * radius * torch.tensor([[-0.6, -0.8], [0.8, -0.6]])
    s = torch.eye(d) + 0.3 * torch.randn(d, d, generator=torch.Generator().manual_seed(seed))
    return s @ a @ torch.linalg.inv(s)


class PerSampleLinear(torch.nn.Module):
    """g(x_b) = A_b x_b with one copy of A per sample: its gradient shows every sample's own estimate."""

    def __init__(self, a, copies):
        super().__init__()
        self.a = torch.nn.Parameter(a.repeat(copies, 1, 1))

    def forward(self, x):
        return (self.a @ x[..., None])[..., 0]


def truth(a):
    identity = torch.eye(len(a))
    return torch.linalg.slogdet(identity + a)[1], torch.linalg.inv(identity + a).T


def all_signs(d):
    return torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * d)


def estimates(g, x, estimator, draw, gradient):
    """Value (B,) and gradient (B, d, d) of every sample for a given draw."""
    _, value = residual_step(g, x, estimator, draw, gradient, "store")
    (d_a,) = torch.autograd.grad(value.sum(), g.a)
    return value.detach(), d_a


@pytest.mark.parametrize("gradient", ["series", "neumann"])
@pytest.mark.parametrize("n_exact", N_EXACT)
@pytest.mark.parametrize("radius", [0.5, 0.9])
@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_the_expectation_is_exact(law, radius, n_exact, gradient):
    """Sum over every N of P(N) times the estimate, and over all 2^d sign probes: no randomness is left."""
    a = matrix(radius)
    d = len(a)
    value, grad = torch.zeros(()), torch.zeros(d, d)
    # all probes at once, as samples of one batch
    g, x, probes = PerSampleLinear(a, 2**d), torch.zeros(2**d, d), all_signs(d)[None]
    estimator = rf.PowerSeries(rf.Roulette(law, n_exact))
    last = 60 if radius == 0.5 else 150
    for n in range(last + 1):
        weights = rf.Roulette(_Always(law, n), n_exact).draw(1)
        v, dv = estimates(g, x, estimator, SeriesDraw(weights, probes), gradient)
        # the last outcome stands for all longer ones: what they would add is below the tolerance
        probability = law.survival(n) - (law.survival(n + 1) if n < last else 0)
        value, grad = value + probability * v.mean(), grad + probability * dv.mean(0)
    true_value, true_grad = truth(a)
    tolerance = 1e-10 if radius == 0.5 else 3e-6  # what 150 terms leave: 0.9^150 / (1 - 0.9)
    assert torch.allclose(value, true_value, atol=tolerance)
    assert torch.allclose(grad, true_grad, atol=tolerance)


# At radius 0.9 a standard error exists only for a tail as heavy as Geometric(0.15)'s: 0.9^2 < 0.85. The other laws are
# covered there by the exact expectation above, which no rare event can spoil.
SLOW = rf.Geometric(0.15)
WITH_ERROR_BARS = [(rf.Geometric(0.5), 0.5), (SLOW, 0.5), (rf.Poisson(2.0), 0.5), (SLOW, 0.9)]


@pytest.mark.parametrize("gradient", ["series", "neumann"])
@pytest.mark.parametrize("n_exact", N_EXACT)
@pytest.mark.parametrize(("law", "radius"), WITH_ERROR_BARS, ids=repr)
@pytest.mark.parametrize("probe", ["rademacher", "gaussian"])
def test_the_mean_of_many_draws_is_within_its_error_bars(law, radius, n_exact, gradient, probe):
    """4,000 draws, each with its own N and probe."""
    a = matrix(radius)
    copies = 4000
    g, x = PerSampleLinear(a, copies), torch.zeros(copies, len(a))
    estimator = rf.PowerSeries(rf.Roulette(law, n_exact, draws="sample"), probe=probe)
    draw = estimator.draw(x, torch.Generator().manual_seed(7))
    value, grad = estimates(g, x, estimator, draw, gradient)
    true_value, true_grad = truth(a)
    assert abs(z_score(value, true_value)) < 4
    assert z_score(grad.flatten(1), true_grad.flatten()).abs().max() < 4.5


def test_truncation_is_seen_as_biased_at_a_large_radius():
    """The tests above can fail: a truncated series with as many terms is far outside its error bars."""
    a, copies = matrix(0.9), 4000
    g, x = PerSampleLinear(a, copies), torch.zeros(copies, len(a))
    estimator = rf.PowerSeries(rf.Truncated(5))
    draw = estimator.draw(x, torch.Generator().manual_seed(7))
    value, grad = estimates(g, x, estimator, draw, "neumann")
    true_value, true_grad = truth(a)
    assert abs(z_score(value, true_value)) > 15
    assert z_score(grad.flatten(1), true_grad.flatten()).abs().max() > 15


class _Always:
    """A law with the survival function of another that always draws the same n."""

    def __init__(self, law, n):
        self.law, self.n = law, n

    def sample(self, n, generator=None):
        return torch.full((n,), self.n)

    def survival(self, k):
        return self.law.survival(k)
