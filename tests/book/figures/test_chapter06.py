"""What the figures of chapter 6 draw: the numbers in them, not the pixels."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib.colors import to_hex

from resflow_lite.book.figures import chapter06, style

NAMES = ("ReLU", "ELU", "softplus", "tanh", "sine", "LipSwish")


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_curves_have_one_panel_for_each_derivative():
    z = np.linspace(-1, 1, 5)
    axes = chapter06.curves(z, {"tanh": (z, z + 1, z + 2), "ELU": (z, -z, 2 * z)}).axes
    for k, ax in enumerate(axes):
        assert np.allclose(ax.lines[0].get_ydata(), z + k)
    assert to_hex(axes[2].lines[1].get_color()).upper() == style.AMBER


def test_slope_bounds_show_the_norm_of_the_pair():
    z = np.linspace(-1, 1, 5)
    left, right = chapter06.slope_bounds(z, {"s = 1": z, "s = 2": 2 * z}, (3 * z, 4 * z)).axes
    assert np.allclose(left.lines[1].get_ydata(), 2 * z)
    assert np.allclose(right.lines[2].get_ydata(), 5 * abs(z))


def test_curvature_is_drawn_against_slope_with_jumps_left_open_and_piles_as_large_dots():
    slope, curvature = np.array([0.8, 0.9, 1.0, 1.0]), np.array([0.8, 0.9, 1.0, 0.0])
    paths = {name: (slope, curvature) for name in NAMES}
    dots = {name: (np.array([0.5, 1.0, 1.0]), np.array([0.5, 0.0, 0.0])) for name in NAMES}
    figure = chapter06.curvature_against_slope(paths, dots, {name: f"note {name}" for name in NAMES})
    by_title = {ax.get_title(loc="left"): ax for ax in figure.axes}
    assert list(NAMES) == [name for name in by_title if name in NAMES]
    panel, band = by_title["ELU"], by_title["all of them, in the band"]
    assert texts(panel) == ["note ELU"]
    x, y = panel.lines[0].get_data()
    assert list(x[:3]) == [0.8, 0.9, 1.0] and np.isnan(y[3])
    small, large = panel.collections[0].get_sizes()
    assert large == 2 * small
    assert len([line for line in band.lines if len(line.get_xdata()) == 4]) == 6
    assert band.get_xlim()[0] < 0.9 < 1 < band.get_xlim()[1] < 1.1
    assert texts(band) == list(NAMES) and {text.get_position()[1] for text in band.texts} == {0.915}


def test_near_one_prints_the_power_that_it_fits():
    d = [0.1, 0.05, 0.02, 0.01]
    gradients = {"tanh": [x**0.5 for x in d], "ELU": list(d), "softplus": [1.01 * x for x in d]}
    (ax,) = chapter06.near_one(d, gradients).axes
    assert texts(ax) == [r"tanh: $\delta^{0.5}$", r"softplus: $\delta^{1.0}$", r"ELU: $\delta^{1.0}$"]
    heights = [text.get_position()[1] for text in ax.texts]
    assert heights[0] > 1.4 * heights[1] > 1.9 * heights[2] > 1.9 * ax.get_ylim()[0]


def test_two_demands_keep_a_zero_on_a_logarithmic_axis():
    (ax,) = chapter06.two_demands({"ReLU": (1.0, 0.0), "tanh": (0.6, 0.1), "LipSwish": (0.97, 0.02)}).axes
    assert texts(ax) == ["tanh", "LipSwish", "ReLU: 0"]
    assert [float(line.get_xdata()[0]) for line in ax.lines] == [0.6, 0.97, 1.0]
    assert ax.lines[2].get_ydata()[0] >= ax.get_ylim()[0]


def test_local_optima_colour_starts_by_where_they_end():
    angles, norms = np.linspace(0, 180, 5), np.array([1.0, 2.0, 1.0, 1.5, 1.0])
    left, right = chapter06.local_optima(angles, norms, [40, 130], [2.0, 1.5], {"2 to 2": 1.0, "1 to 2": 0.25}).axes
    assert [list(line.get_xdata()) for line in left.lines[1:]] == [[40], [130]]
    assert texts(right) == ["100%", "25%"]
    assert [bar.get_width() for bar in right.patches] == [1.0, 0.0, 0.25, 0.75]


def test_norm_bounds_have_the_tangent_at_the_norm():
    orders, truth = np.linspace(1, 5, 9), np.linspace(4, 8, 9)
    estimates = np.stack([truth, truth - 1], 1)
    (ax,) = chapter06.norm_bounds(orders, truth, estimates, truth + 1, (3.0, 1.0)).axes
    tangent = next(line for line in ax.lines if line.get_linewidth() == 3 and len(line.get_xdata()))
    assert np.allclose(tangent.get_ydata(), tangent.get_xdata() + 3)
    assert np.allclose(ax.lines[0].get_ydata(), truth + 1) and np.allclose(ax.lines[3].get_ydata(), truth - 1)


def test_a_broken_chain_shows_product_radius_and_divergence():
    left, right = chapter06.broken_chain([1, 10], 0.81, [0.8, 2.6], [1.0, 3.0, 9.0]).axes
    assert list(left.lines[0].get_ydata()) == [0.8, 2.6] and left.lines[1].get_ydata()[0] == 0.81
    assert list(right.lines[0].get_ydata()) == [1.0, 3.0, 9.0]


def test_learned_orders_draw_the_balls_that_hold_the_weights():
    paths = {"p = 2": np.array([[0.5, 0.5], [0.6, 0.7]]), "p learned": np.array([[0.5, 0.5], [0.8, 0.8]])}
    figure = chapter06.learned_orders(paths, (0.8, 0.8), {"column": [2, 3], "row": [2, 1.5]}, 3.0, 0.98)
    balls = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 200]
    for p, ball in zip((2, 3.0), balls):
        assert np.allclose(np.linalg.norm(ball.get_xydata(), p, axis=1), 0.98)
    assert list(figure.axes[1].lines[1].get_ydata()) == [2, 1.5]
