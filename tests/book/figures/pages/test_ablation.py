"""The figures of the ablation show what they are given."""

import math

import pytest

from resflow_lite.book.figures.pages.ablation import claims_and_truth, differences, gaps, over_seeds


def test_every_seed_and_every_mean_is_there():
    figure = over_seeds({"a": [2.0, 2.1, 2.2], "b": [1.9]}, {"a": "truncated", "b": "roulette"}, "digits")
    (ax,) = figure.axes
    points = {tuple(line.get_xdata()) for line in ax.lines if line.get_marker() == "o"}
    assert (2.0, 2.1, 2.2) in points and (1.9,) in points
    assert {text.get_text() for text in ax.texts} == {"2.100", "1.900"}
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["a", "b"]


def test_an_interval_that_holds_zero_is_grey():
    figure = differences({"helps": (-0.2, 0.1), "hurts": (0.2, 0.1), "open": (-0.1, 0.2), "one seed": (0.3, math.inf)})
    colors = [text.get_color() for text in figure.axes[0].texts]
    assert len({colors[0], colors[1], colors[2]}) == 3 and colors[2] == colors[3]
    assert figure.axes[0].texts[0].get_text() == "-0.200 ± 0.100"


def test_claims_stand_left_and_truths_right_with_every_seed_and_the_mean():
    seeds = [[(10, 2.0, 2.1), (20, -1.0, 2.3)], [(10, 2.2, 2.3), (20, 0.0, 2.5)]]
    figure = claims_and_truth({"truncated": seeds, "roulette": seeds[:1]}, {"independent pixels": 2.42})
    left, right = figure.axes
    for ax, column in ((left, 1), (right, 2)):
        drawn = [list(line.get_ydata()) for line in ax.lines]
        assert all([row[column] for row in rows] in drawn for rows in seeds)
    means = [list(line.get_ydata()) for line in right.lines if line.get_label() == "truncated"]
    assert means == [pytest.approx([2.2, 2.4])]
    assert [2.42, 2.42] in [list(line.get_ydata()) for line in right.lines]
    assert any("above 1" in text.get_text() for text in left.texts) and left.get_ylim()[0] < -1
    colours = {line.get_label(): line.get_color() for line in right.lines}
    assert colours["truncated"] != colours["roulette"]


def test_claims_that_a_density_can_have_need_no_warning():
    figure = claims_and_truth({"stratified": [[(10, 2.0, 2.1), (20, 1.9, 1.9)]]}, {})
    assert not figure.axes[0].texts


def test_where_trainings_end_claim_and_truth_are_joined():
    figure = gaps({"truncated-1": (-1.0, 2.3), "control variate": (2.0, 2.0)})
    (ax,) = figure.axes
    assert [-1.0, 2.3] in [list(line.get_xdata()) for line in ax.lines]
    assert [text.get_text() for text in ax.texts] == ["2.300", "2.000"]
