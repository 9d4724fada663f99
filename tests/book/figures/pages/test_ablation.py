"""The figures of the ablation show what they are given."""

import math

import pytest

from resflow_lite.book.figures.pages.ablation import claimed_and_true, differences, over_seeds


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


def test_the_gap_is_claimed_minus_true():
    rows = [(1, 2.0, 2.0), (2, 1.5, 1.9)]
    figure = claimed_and_true({"truncated after 1": rows, "roulette": rows})
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == ["truncated after 1: -0.400 at the end", "roulette: -0.400 at the end"]
    claimed, true = figure.axes[0].lines
    assert list(claimed.get_ydata()) == pytest.approx([2.0, 1.5]) and list(true.get_ydata()) == pytest.approx(
        [2.0, 1.9]
    )
    assert claimed.get_color() != figure.axes[1].lines[0].get_color()
