"""Laws and weights: what the draws are, against what the formulas say."""

import math

import pytest
import torch

import resflow_lite as rf

LAWS = [rf.Geometric(0.5), rf.Geometric(0.2), rf.Poisson(2.0), rf.Poisson(0.3)]


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_draws_have_the_survival_function_that_the_law_states(law):
    n = law.sample(200_000, torch.Generator().manual_seed(1))
    assert n.dtype == torch.int64 and int(n.min()) == 0
    for k in range(8):
        p = law.survival(k)
        error = math.sqrt(p * (1 - p) / len(n))
        assert abs(float((n >= k).double().mean()) - p) <= 4.5 * error
    assert law.survival(0) == 1


def test_the_poisson_tail_keeps_its_digits():
    # P(N >= k) = regularised lower incomplete gamma function P(k, rate)
    for k in (1, 5, 20, 60):
        exact = float(torch.special.gammainc(torch.tensor(float(k)), torch.tensor(2.0)))
        assert rf.Poisson(2.0).survival(k) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("law", LAWS, ids=repr)
@pytest.mark.parametrize("n_exact", [0, 1, 2, 5])
def test_weights_are_one_in_expectation(law, n_exact):
    """E[c_k] = 1 for every k, summed over the law exactly; n_exact terms are always there."""
    expected = torch.zeros(n_exact + 6)
    for n in range(60):
        weights = rf.Roulette(_Always(law, n), n_exact).draw(1)
        assert len(weights) == n_exact + n
        assert weights[:n_exact] == (1.0,) * n_exact
        probability = law.survival(n) - law.survival(n + 1)
        for k, weight in enumerate(weights[: len(expected)]):
            expected[k] += probability * weight
    assert torch.allclose(expected, torch.ones_like(expected), atol=1e-9)


def test_per_sample_weights_are_each_sample_s_own_roulette():
    law = rf.Geometric(0.4)
    terms = rf.Roulette(law, n_exact=1, draws="sample")
    weights = terms.draw(5000, torch.Generator().manual_seed(0))
    n = law.sample(5000, torch.Generator().manual_seed(0))
    assert len(weights) == 1 + int(n.max())
    for k, weight in enumerate(weights[1:], 1):
        assert torch.equal(weight > 0, n >= k)
        assert torch.allclose(weight[n >= k], torch.tensor(1 / law.survival(k)))


def test_truncation_draws_nothing():
    assert rf.Truncated(3).draw(7) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: rf.Geometric(0.0), r"Geometric\(p=0.0\): expected a number in"),
        (lambda: rf.Geometric(1.0), r"Geometric\(p=1.0\): expected a number in"),
        (lambda: rf.Poisson(-1.0), r"Poisson\(rate=-1.0\): expected a number in"),
        (lambda: rf.Truncated(-1), "n_terms=-1.: expected a whole number from 0 to"),
        (lambda: rf.Truncated(2.5), "n_terms=2.5.: expected a whole number from 0 to"),
        (lambda: rf.Roulette(n_exact=-1), "n_exact=-1.: expected a whole number from 0 to"),
        (lambda: rf.Roulette("geometric"), "sample"),
        (lambda: rf.PowerSeries("five"), "expected Truncated"),
        (lambda: rf.PowerSeries(probe="uniform"), "rademacher"),
        (lambda: rf.PowerSeries(n_probes=0), "n_probes=0.: expected a whole number from 1 to"),
    ],
)
def test_wrong_values_are_refused_by_name(make, says):
    with pytest.raises(rf.SettingsError, match=says):
        make()


class _Always:
    """A law with the survival function of another that always draws the same n."""

    def __init__(self, law, n):
        self.law, self.n = law, n

    def sample(self, n, generator=None):
        return torch.full((n,), self.n)

    def survival(self, k):
        return self.law.survival(k)
