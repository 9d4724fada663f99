"""What the figures of a reader's own parts draw: the numbers in them, not the pixels."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import torch

import resflow_lite as rf
from resflow_lite.book.figures.pages import extending


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
