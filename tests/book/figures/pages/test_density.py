"""What the figure of the estimators draws: the numbers in it, not the pixels."""

import matplotlib

matplotlib.use("Agg")

import numpy as np

from resflow_lite.book.figures.pages import density
from resflow_lite.models.bias import BiasReport, BlockBias


def test_a_bias_within_its_error_is_drawn_hollow_and_at_its_limit():
    rows = (
        BlockBias("a", 4, True, 1.0, dict(truncated=(-0.1, 0.01), roulette=(0.002, 0.01), krylov=(0.0, 0.0))),
        BlockBias("b", 4, True, 1.0, dict(truncated=(0.2, 0.01), roulette=(0.5, 0.1), krylov=(1e-6, 1e-6))),
    )
    (ax,) = density.estimator_bias(BiasReport(5, 8, 3, rows, {})).axes
    points = {}
    for line in ax.lines:
        for x, y in zip(line.get_xdata(), line.get_ydata()):
            points[line.get_color(), x] = (y, line.get_markerfacecolor() != "none")
    colours = (density.TRUNCATED, density.ROULETTE, density.GREEN)
    expected = [(0.1, True), (0.03, False), (1e-12, False), (0.2, True), (0.5, True), (3e-6, False)]
    found = [points[colour, block] for block in (1, 2) for colour in colours]
    assert np.allclose([y for y, _ in found], [y for y, _ in expected], rtol=1e-9, atol=0)
    assert [full for _, full in found] == [full for _, full in expected]
    assert ax.get_yscale() == "log"
