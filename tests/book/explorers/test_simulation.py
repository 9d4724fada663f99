"""The numbers behind the explorer of chapter 4, against closed forms, the package's estimators and the design."""

import math

import numpy as np
import pytest
import torch

import resflow_lite as rf
from resflow_lite.book.explorers import series, simulation
from resflow_lite.estimators.logdet import SeriesDraw
from resflow_lite.estimators.series import tail_ratio

DEFAULT = rf.Roulette(rf.Geometric(0.25), n_exact=2)
POISSON = rf.Roulette(rf.Poisson(2.0), n_exact=2)


@pytest.mark.parametrize("angle", [0, 75, 180])
def test_a_rotation_without_spread_has_the_closed_form_for_every_probe(angle):
    r, k, phi = 0.8, np.arange(1, 60), math.radians(angle)
    terms = simulation.log_series(simulation.rotation(r, angle), 59)
    assert np.allclose(terms, (-1.0) ** (k + 1) * r**k * np.cos(k * phi) / k, atol=1e-14)
    assert simulation.race(simulation.rotation(r, angle)).truth == pytest.approx(
        math.log(1 + 2 * r * math.cos(phi) + r**2) / 2
    )


@pytest.mark.parametrize(("r", "angle"), [(0.8, 180), (0.9, 130), (0.5, 90)])
def test_probe_noise_moves_the_probes_and_neither_a_trace_nor_the_truth_nor_the_bias(r, angle):
    quiet, noisy = simulation.rotation(r, angle), simulation.noisy_rotation(r, angle, 1.0)
    assert np.allclose(simulation.noisy_rotation(r, angle, 0.0), np.kron(np.eye(2), quiet), atol=1e-15)
    assert np.linalg.norm(noisy, 2) <= 1 + 1e-12
    for k in range(1, 12):
        powers = [np.linalg.matrix_power(J, k).trace() / len(J) for J in (quiet, noisy)]
        assert powers[0] == pytest.approx(powers[1], abs=1e-12)
    terms = simulation.log_series(noisy, 29)
    assert np.allclose(terms.mean(0), simulation.log_series(quiet, 29)[0], atol=1e-14)
    assert terms.std(0).max() > 0.05
    one, other = (simulation.race(J) for J in (quiet, noisy))
    assert one.truth == pytest.approx(other.truth, abs=1e-12) and one.bias == pytest.approx(other.bias, abs=1e-12)


def test_the_probes_of_a_power_of_two_are_of_signs():
    jacobian = np.diag([0.5, 0.4, 0.3, 0.2, 0.1, 0.2, 0.3, 0.4])
    assert np.allclose(simulation.log_series(jacobian, 1), 0.3)  # signs square to 1, so each probe gives the trace


@pytest.mark.parametrize("roulette", [DEFAULT, POISSON])
def test_the_largest_term_is_that_of_the_draws(roulette):
    jacobian = simulation.noisy_rotation(0.9, 180, 0.3)
    terms = simulation.log_series(jacobian, 300)
    race = simulation.race(jacobian, roulette)
    chance = [1.0, 1.0] + [roulette.law.survival(k) for k in range(1, 60)]
    weighted = terms[:, : len(chance)] / chance
    largest = np.maximum.accumulate(abs(weighted), axis=1)[:, 1:]
    sums = np.cumsum(weighted, axis=1)[:, 1:]  # S_N for N = 0, 1, ...
    drawn = [largest[np.unravel_index(abs(sums - x).argmin(), sums.shape)] for x in race.draws]
    assert race.largest_term == pytest.approx(max(drawn))


@pytest.mark.parametrize("size", [3, 8])
def test_the_mean_over_the_probes_is_the_exact_trace(size):
    jacobian = np.random.default_rng(1).normal(size=(size, size))
    jacobian *= 0.8 / np.linalg.norm(jacobian, 2)
    terms = simulation.log_series(jacobian, 300).mean(0)
    powers = [np.trace(np.linalg.matrix_power(jacobian, k)) for k in range(1, 6)]
    assert np.allclose(terms[:5] * size, [(-1) ** (k + 1) / k * power for k, power in enumerate(powers, 1)])
    assert terms.sum() * size == pytest.approx(np.linalg.slogdet(np.eye(size) + jacobian)[1])


@pytest.mark.parametrize("roulette", [DEFAULT, POISSON, rf.Roulette(rf.Matched(0.7), n_exact=0)])
def test_every_draw_is_one_that_the_package_can_make(roulette):
    jacobian = simulation.noisy_rotation(0.7, 110, 0.3)
    g = rf.linearize(lambda x: x @ torch.from_numpy(jacobian).T, torch.zeros(1, 4))
    possible = []
    for probe in ([1.0, 1.0, 1.0, 1.0], [1.0, 1.0, -1.0, -1.0]):
        for n in range(80):
            weights = (1.0,) * roulette.n_exact + tuple(1 / roulette.law.survival(k) for k in range(1, n + 1))
            draw = SeriesDraw(weights, torch.tensor([[probe]]))
            possible.append(float(rf.PowerSeries(roulette).estimate(g, draw).value.detach()) / 4)
    draws = simulation.race(jacobian, roulette).draws
    nearest = np.sort(possible)[:, None]
    assert len(np.unique(draws)) > 10
    assert max(abs(nearest - x).min() / (1 + abs(x)) for x in np.unique(draws)) < 1e-12


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_roulette_is_unbiased_and_truncation_is_not(noise):
    race = simulation.race(simulation.noisy_rotation(0.8, 180, noise), seed=3)
    final = race.roulette_means[:, -1]
    standard_error = final.std(ddof=1) / len(final) ** 0.5
    assert abs(final.mean() - race.truth) < 4 * standard_error
    assert standard_error < race.bias / 20
    assert abs(race.truncated_means[:, -1].mean() - race.truncated) < 0.1 * race.bias
    # the error bars of the one run that is shown are those of its draws
    assert race.errors[-1] == pytest.approx(race.draws.std(ddof=1) / len(race.draws) ** 0.5)
    assert race.roulette_means[0, -1] == pytest.approx(race.draws.mean())


def test_the_defaults_cost_five_products_and_have_a_bias_of_015_nats():
    race = simulation.race(simulation.rotation(0.8, 180))
    assert race.products == pytest.approx(5) and race.n_terms == 5
    assert race.bias == pytest.approx(-math.log(0.2) - sum(0.8**k / k for k in range(1, 6)))
    assert race.bias == pytest.approx(0.151, abs=6e-4)
    assert np.allclose(race.truncated_means, race.truncated, atol=1e-12)


@pytest.mark.parametrize(
    ("r", "roulette", "stated"), [(0.8, DEFAULT, 0.94), (0.8, POISSON, 0.67), (0.9, POISSON, 0.33)]
)
def test_coverage_is_what_the_design_states(r, roulette, stated):
    """The stated shares come from 1,000 intervals, these from 5,000: the difference has both standard errors."""
    coverage = np.mean(
        [simulation.race(simulation.rotation(r, 180), roulette, seed=seed).coverage for seed in range(5)]
    )
    deviation = (stated * (1 - stated) * (1 / 1000 + 1 / 5000)) ** 0.5
    assert abs(coverage - stated) < 3 * deviation


def test_the_limit_tells_finite_variance_from_infinite():
    assert simulation.race(simulation.rotation(0.8, 180)).limit == pytest.approx(0.75)
    for law in (rf.Poisson(0.5), rf.Poisson(8.0), rf.Geometric(0.9), rf.Geometric(0.05), rf.Matched(0.9)):
        race = simulation.race(simulation.rotation(0.8, 180), rf.Roulette(law, 2))
        assert race.limit == pytest.approx(tail_ratio(law))
    assert simulation.race(simulation.rotation(0.8, 60)).rho == pytest.approx(0.8)


def test_without_probe_noise_only_the_law_is_random():
    race = simulation.race(simulation.noisy_rotation(0.8, 150, 0.5), probe_noise=False)
    assert np.allclose(race.truncated_means, race.truncated, atol=1e-12)


def test_a_diverging_series_is_refused():
    with pytest.raises(rf.SettingsError, match="spectral radius 1.100"):
        simulation.race(simulation.rotation(1.1, 20))


def test_block_jacobians_are_those_of_the_branches_where_the_event_passes():
    flow = rf.toy_flow(n_blocks=3, hidden=(16, 16), coeff=0.9)
    x = rf.toy_data("pinwheel", 64).double()
    flow = flow.double()
    flow.initialize_(x)
    jacobians = series.block_jacobians(flow, x[5:8])
    blocks = [m for m in flow.modules() if isinstance(m, rf.ResidualBlock)]
    assert len(jacobians) == len(blocks) == 3
    for block in blocks:
        block.eval_estimator = rf.Exact()
    flow.eval()
    z = x[5:6]
    for layer in flow.bijection.layers:
        z, log_det = layer(z)
        if isinstance(layer, rf.ResidualBlock):
            jacobian = jacobians.pop(next(iter(jacobians)))
            assert np.linalg.slogdet(np.eye(2) + jacobian)[1] == pytest.approx(float(log_det.detach()), abs=1e-12)
