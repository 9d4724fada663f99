"""Means, errors and paired intervals against cases worked out by hand."""

import math
import random

import pytest

import resflow_lite as rf
from resflow_lite.lab.seeds import by_seed, compare, group, mean_and_error, paired_interval


def entry(seed, bits, system="glow"):
    return dict(seed=seed, bits_per_dim=bits, settings=dict(system=system))


def test_mean_and_error_by_hand():
    # deviations -1, 0, 1: s = 1, and 1 / sqrt(3)
    assert mean_and_error([1.0, 2.0, 3.0]) == pytest.approx((2.0, 1 / math.sqrt(3)))
    assert math.isnan(mean_and_error([1.0])[1])


def test_the_interval_by_hand_whatever_the_order_of_the_seeds():
    a, b = {0: 2.0, 1: 3.0, 2: 7.0, 9: 100.0}, {2: 4.0, 1: 1.0, 0: 1.0, 8: -5.0}
    # differences of seeds 0, 1, 2: 1, 2, 3; t(0.975, 2 degrees of freedom) = 4.302653 (any table)
    assert paired_interval(a, b) == pytest.approx((2.0, 4.302653 / math.sqrt(3)), rel=1e-6)
    assert paired_interval(b, a)[0] == -2.0


def test_five_seeds_use_four_degrees_of_freedom():
    a = {seed: 0.1 * seed for seed in range(5)}
    # s^2 = 0.025, s / sqrt(5) = 0.0707107, t(0.975, 4) = 2.776445
    assert paired_interval(a, dict.fromkeys(range(5), 0.0)) == pytest.approx((0.2, 2.776445 * 0.0707106781), rel=1e-6)


def test_intervals_of_a_family_hold_together_as_often_as_a_single_one_does():
    """By simulation, 2,000 worlds of seven differences of mean 0 over five seeds; uncorrected, 70 % would hold."""
    generator, zero, held = random.Random(0), dict.fromkeys(range(5), 0.0), 0
    for _ in range(2000):
        found = [paired_interval({seed: generator.gauss(0, 1) for seed in zero}, zero, family=7) for _ in range(7)]
        held += all(abs(mean) <= half for mean, half in found)
    assert abs(held / 2000 - (1 - 0.05 / 7) ** 7) < 4 * (0.05 * 0.95 / 2000) ** 0.5


def test_pairing_removes_what_a_seed_does_to_both():
    a = {seed: 10.0 * seed + 1 for seed in range(5)}
    assert paired_interval(a, {seed: 10.0 * seed for seed in range(5)}) == (1.0, 0.0)


def test_one_seed_says_nothing_and_none_is_refused():
    assert paired_interval({0: 2.0}, {0: 1.0}) == (1.0, math.inf)
    with pytest.raises(rf.DataError, match="no common seeds"):
        paired_interval({0: 2.0}, {1: 1.0})


def test_groups_and_their_comparison():
    entries = [entry(0, 2.0), entry(1, 2.2), entry(0, 1.9, "resflow"), entry(1, 2.0, "resflow")]
    groups = group(entries, lambda e: e["settings"]["system"])
    first, second = compare(groups, "bits_per_dim")
    assert (first.name, first.seeds, first.difference) == ("glow", 2, None)
    assert (second.mean, second.difference) == pytest.approx((1.95, -0.15))
    assert "resflow" in str(second) and "-0.1500 +- " in str(second)
    with pytest.raises(rf.DataError, match="two entries of seed 0"):
        by_seed(entries, "bits_per_dim")
