"""Variational dequantisation: its density, and its bound on probabilities that are known in closed form."""

import math

import pytest
import torch

import resflow_lite as rf
from resflow_lite.checks import z_score

N_LEVELS = 4
SHAPE = (1, 1, 2)


def log_prob(x):
    """p(x) = prod 2 x_i on [0, 1]^2."""
    return (2 * x).log().flatten(1).sum(1)


def log_probability(levels):
    """P(k) = ((k + 1)^2 - k^2) / n^2 for each pixel: the integral of p over the cell."""
    return ((2 * levels + 1) / N_LEVELS**2).log().flatten(1).sum(1)


def bound(dequantizer, levels, generator):
    """(B,) draws of the lower bound of log P(levels)."""
    x, log_q = dequantizer(levels, N_LEVELS, generator)
    return log_prob(x) - log_q - levels[0].numel() * math.log(N_LEVELS)


def randomized(dequantizer):
    for parameter in dequantizer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return dequantizer


def test_it_starts_as_uniform_dequantisation():
    levels = torch.randint(17, (50, 1, 8, 8), dtype=torch.uint8)
    x, log_q = rf.VariationalDequantizer((1, 8, 8))(levels, 17, torch.Generator().manual_seed(0))
    assert x.shape == levels.shape and log_q.abs().max() < 1e-9
    noise = torch.rand(levels.shape, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(x, (levels + noise) / 17)


def test_in_float32_it_draws_the_same_noise_as_uniform_dequantisation():
    torch.set_default_dtype(torch.float32)
    levels = torch.randint(17, (50, 1, 8, 8), dtype=torch.uint8)
    x, log_q = rf.VariationalDequantizer((1, 8, 8))(levels, 17, torch.Generator().manual_seed(0))
    plain = rf.uniform_dequantize(levels, 17, torch.Generator().manual_seed(0))
    assert torch.allclose(x, plain, atol=1e-6) and log_q.abs().max() < 1e-3
    assert x.min() >= 0 and x.max() < 1


def test_the_density_belongs_to_the_noise():
    """E_q[f(u) / q(u)] = the integral of f over the unit cube: 1 for f = 1, 1/2 for u_1, 1/4 for u_1 u_2."""
    dequantizer = randomized(rf.VariationalDequantizer(SHAPE, n_blocks=2, width=8))
    levels = torch.tensor([1, 3]).view(1, *SHAPE).expand(40_000, *SHAPE)
    with torch.no_grad():
        x, log_q = dequantizer(levels, N_LEVELS, torch.Generator().manual_seed(0))
    u = (x * N_LEVELS - levels).flatten(1)
    assert u.min() >= 0 and u.max() <= 1 and log_q.std() > 0.1
    for value, integral in ((1.0, 1.0), (u[:, 0], 0.5), (u[:, 0] * u[:, 1], 0.25)):
        assert abs(float(z_score(value * (-log_q).exp(), integral))) < 4


def test_uniform_noise_gives_the_bound_in_closed_form():
    """E log(2 (k + u) / n) = log(2 / n) + (k + 1) log(k + 1) - k log k - 1 for each pixel."""
    dequantizer = rf.VariationalDequantizer(SHAPE, n_blocks=0)
    for k in range(N_LEVELS):
        levels = torch.full((20_000, *SHAPE), k)
        draws = bound(dequantizer, levels, torch.Generator().manual_seed(k))
        pixel = math.log(2 / N_LEVELS) + (k + 1) * math.log(k + 1) - (k * math.log(k) if k else 0) - 1
        truth = 2 * (pixel - math.log(N_LEVELS))
        assert abs(float(z_score(draws, truth))) < 4
        assert truth < float(log_probability(levels[:1]))


def test_training_closes_the_gap_and_the_bound_holds():
    dequantizer = rf.VariationalDequantizer(SHAPE, n_blocks=2, width=8)
    levels = torch.cartesian_prod(torch.arange(N_LEVELS), torch.arange(N_LEVELS)).view(-1, *SHAPE).repeat(8, 1, 1, 1)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(dequantizer.parameters(), 1e-2)
    for _ in range(250):
        optimizer.zero_grad()
        (-bound(dequantizer, levels, generator).mean()).backward()
        optimizer.step()
    darkest = torch.zeros(20_000, *SHAPE, dtype=torch.long)
    with torch.no_grad():
        draws = bound(dequantizer, darkest, generator)
    gap = float(log_probability(darkest[:1])) - draws.mean()
    # uniform noise leaves 2 (1 - log 2) = 0.614 nats here
    assert -4 * draws.std() / len(draws) ** 0.5 < gap < 0.1
    randomized(dequantizer)
    with torch.no_grad():
        worse = bound(dequantizer, darkest, generator)
    assert worse.mean() + 4 * worse.std() / len(worse) ** 0.5 < float(log_probability(darkest[:1]))


def test_wrong_settings_are_refused():
    with pytest.raises(rf.SettingsError, match="even width"):
        rf.VariationalDequantizer((1, 8, 7))
    with pytest.raises(rf.SettingsError, match="n_blocks = -1"):
        rf.VariationalDequantizer((1, 8, 8), -1)
