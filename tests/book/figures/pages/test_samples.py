"""What the figures of sample quality draw: the numbers in them, not the pixels."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import torch

from resflow_lite.book.figures.pages import samples


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
