"""What the figures of step costs, samples and extensions draw: the numbers in them, not the pixels."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import torch

import resflow_lite as rf
from resflow_lite.book.figures.pages import extending, samples
from resflow_lite.book.figures.pages import memory_and_time as step_costs

MODES = {("series", "store"): {1: 2e6, 4: 8e6}, ("neumann", "recompute"): {1: 1e6, 4: 1e6}}


def test_peaks_are_in_megabytes_a_panel_for_each_axis():
    axes = step_costs.grid_of_peaks({"more terms": ("terms", MODES), "more blocks": ("blocks", MODES)}).axes
    assert [ax.get_title(loc="left") for ax in axes] == ["more terms", "more blocks"]
    assert [list(line.get_ydata()) for line in axes[0].lines] == [[2, 8], [1, 1]]


def test_savings_show_the_claim_and_the_laws():
    (ax,) = step_costs.savings({"a": {1: 2.0, 4: 5.0}}, 10, {"Geometric": 3.0}, 4).axes
    line, claim, law = ax.lines
    assert list(line.get_ydata()) == [2, 5]
    assert set(claim.get_ydata()) == {10} and set(law.get_xdata()) == {3}


def test_times_and_memory_are_drawn_by_mode():
    (ax,) = step_costs.time_against_terms(MODES).axes
    assert list(ax.lines[0].get_ydata()) == [2e6, 8e6]
    (ax,) = step_costs.time_and_memory({("series", "store"): (1.0, 1.0), ("neumann", "store"): (0.5, 0.2)}).axes
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines] == [(1.0, 1.0), (0.5, 0.2)]


def test_the_share_of_near_images_rises_to_one():
    (ax,) = samples.nearest_distances({"test": torch.tensor([3.0, 1.0])}, "levels").axes
    assert list(ax.lines[0].get_xdata()) == [1, 3] and list(ax.lines[0].get_ydata()) == [0.5, 1]


def test_distances_stand_over_one_over_n_with_their_limit():
    curves = {"copies": {10: (2.0, 0.1), 20: (1.0, 0.1)}}
    (ax,) = samples.distance_against_number(curves, {"copies": (0.0, 0.2)}, "distance").axes
    measured, limit = (container.lines[0] for container in ax.containers)
    assert list(measured.get_xdata()) == [0.1, 0.05] and list(measured.get_ydata()) == [2, 1]
    assert list(limit.get_xdata()) == [0] and list(limit.get_ydata()) == [0]
    line = next(line for line in ax.lines if line.get_linestyle() == "--")
    assert np.allclose(line.get_ydata(), [0, 2])  # through both points
    (ax,) = samples.distance_against_temperature([0.5, 1.0], [(3.0, 0.1), (2.0, 0.1)], 1.5, "distance").axes
    assert list(ax.lines[0].get_ydata()) == [3, 2]


def test_the_parts_of_a_reader_are_drawn():
    (ax,) = extending.survivals({"half": rf.Geometric(0.5)}, most=2).axes
    assert list(ax.lines[0].get_ydata()) == [1, 0.5, 0.25]
    (ax,) = extending.probe_errors({"independent": {1: 2.0, 2: 1.0}}).axes
    assert list(ax.lines[0].get_ydata()) == [2, 1]
    (ax,) = extending.activation(rf.Sine()).axes
    z, slope = ax.lines[1].get_xdata(), ax.lines[1].get_ydata()
    assert np.allclose(slope, np.cos(z))


def test_the_density_of_the_plane_is_exact_and_the_flow_keeps_its_estimator():
    torch.set_default_dtype(torch.float32)
    flow = rf.toy_flow(n_blocks=1, hidden=(4,)).eval()
    before = [block.eval_estimator for block in flow.modules() if isinstance(block, rf.ResidualBlock)]
    figure = extending.plane(flow, torch.zeros(3, 2), [1.0, 0.5], cells=40)
    image = figure.axes[1].images[0].get_array()
    assert abs(float(image.sum()) * (8 / 39) ** 2 - 1) < 0.05  # a density of the plane
    assert before == [block.eval_estimator for block in flow.modules() if isinstance(block, rf.ResidualBlock)]
