"""What the figures of hybrid models draw: the numbers in them, not the pixels."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
import torch

from resflow_lite.book.figures import chapter09
from resflow_lite.lab.tasks.hybrid import reliability


def test_the_star_stands_on_the_best_direction():
    density, label = np.array([0.0, 1.0, 0.2]), np.array([0.8, 0.0, 0.1])
    figure = chapter09.one_direction([0, 90, 180], density, label, {"0": 0.0, "1/D": 0.5, "1": 1.0})
    left, right = figure.axes
    assert [line.get_ydata().max() for line in left.lines] == [0, 0]
    stars = [float(line.get_xdata()[0]) for line in right.lines if line.get_marker() == "*"]
    assert stars == [0, 0, 90]


def test_labels_and_gaps_stand_at_their_worth():
    (ax,) = chapter09.worth_of_labels({"a": 0.05, "b": 0.001}, {"b": 0.07}).axes
    labels, gaps = ax.lines
    assert list(labels.get_xdata()) == [0.05, 0.001] and list(gaps.get_xdata()) == [0.07]
    assert list(gaps.get_ydata()) == [1] and ax.get_xscale() == "log"


def test_the_density_counts_one_over_its_dimensions():
    (ax,) = chapter09.gradient_norms([1, 2], [64.0, 128.0], [3.0, 4.0], 64).axes
    assert [list(line.get_ydata()) for line in ax.lines] == [[64, 128], [1, 2], [3, 4]]


def test_a_density_above_the_figure_is_drawn_at_its_edge():
    left, right = chapter09.learning_curves({"0": [(1, 0.9, 50.0), (2, 0.97, 70.0)]}, top=6).axes
    assert np.allclose(left.lines[0].get_ydata(), [10, 3]) and list(right.lines[0].get_ydata()) == [6, 6]


def test_accuracy_against_bits_shows_means_with_their_errors():
    points = {
        ("residual", "0"): ([0.9, 0.92], [None, None]),
        ("residual", "1/D"): ([0.9, 0.94], [2.0, 2.2]),
        ("residual", "1"): ([0.8], [1.9]),
    }
    alone, both = chapter09.accuracy_against_bits(points).axes
    bars = [(c.lines[0].get_xdata()[0], c.lines[0].get_ydata()[0]) for c in both.containers]
    assert np.allclose(bars, [(2.1, 92), (1.9, 80)])
    # standard error of two values: half of their distance
    (across, up) = both.containers[0].lines[2]
    assert np.allclose(np.diff(across.get_segments()[0], axis=0), [[0.2, 0]])
    assert np.allclose(np.diff(up.get_segments()[0], axis=0), [[0, 4]])
    assert alone.containers[0].lines[0].get_ydata()[0] == pytest.approx(91)


def test_reliability_has_a_dot_for_each_bin_that_is_not_empty():
    probabilities = torch.tensor([[0.95, 0.05], [0.35, 0.65], [0.64, 0.36]])
    bins = reliability(probabilities, torch.tensor([0, 1, 1]))
    (ax,) = chapter09.reliability_diagrams({"one": bins}, {"one": 0.1}).axes
    dots = ax.collections[0].get_offsets()
    found = sorted(map(tuple, np.asarray(dots[~np.isnan(np.asarray(dots)).any(1)]).round(3).tolist()))
    assert found == [(0.645, 0.5), (0.95, 1.0)]


def test_both_calibration_errors_are_drawn_against_the_true_one():
    (ax,) = chapter09.calibration_errors([0.0, 0.1], {"package": [0.0, 0.1], "bug": [0.0, 0.03]}).axes
    assert [list(line.get_ydata()) for line in ax.lines] == [[0, 0.1], [0, 0.1], [0, 0.03]]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["package", "bug"]


def test_histograms_have_a_row_for_each_alteration():
    images, scores = torch.rand(10, 1, 4, 4), torch.randn(100)
    figure = chapter09.density_histograms(scores, {"a": (images, scores - 50), "b": (images, scores + 1)}, "title")
    assert len(figure.axes) == 4 and figure.axes[1].get_title(loc="left") == "title"
