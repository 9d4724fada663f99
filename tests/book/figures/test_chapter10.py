"""What the figures of chapter 10 draw: the numbers in them, not the pixels."""

import matplotlib

matplotlib.use("Agg")

import numpy as np

from resflow_lite.book.figures import chapter10


def test_stretch_draws_what_was_measured_inside_what_is_proven():
    bounds, measured = {"one": (0.1, 1.9), "two": (0.05, 19.0)}, {"one": (0.5, 1.5), "two": (0.2, 7.0)}
    (ax,) = chapter10.stretch(bounds, measured).axes
    assert [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in ax.patches] == list(bounds.values())
    drawn = [tuple(line.get_xdata()) for line in ax.lines if len(line.get_xdata()) == 2 and line.get_marker() == "o"]
    assert drawn == list(measured.values())
    assert ax.get_xscale() == "log"


def test_paths_start_where_the_noise_is_and_end_at_the_data():
    walk = np.arange(24.0).reshape(4, 3, 2) / 12
    (ax,) = chapter10.paths({"ODE": walk}, {"ODE": 1.25}, limit=3.0).axes
    *lines, start, end = ax.lines
    for i, line in enumerate(lines):
        assert np.allclose(line.get_xydata(), walk[:, i])
    assert np.allclose(start.get_xydata(), walk[0]) and np.allclose(end.get_xydata(), walk[-1])
    assert ax.get_title(loc="left") == "ODE: 1.25 × straight"
