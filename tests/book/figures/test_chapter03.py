"""What the figures of chapter 3 draw: the numbers in them, not the pixels."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.contour import QuadContourSet

from resflow_lite.book.figures import chapter03, style

BOUND, GAUSSIAN = -3.466, -4.494


def texts(ax):
    return [text.get_text() for text in ax.texts]


def colour(artist):
    return to_hex(artist.get_color()).upper()


def bias(lam, n):
    return (sum((-1) ** (k + 1) / k * lam**k for k in range(1, n + 1)) - torch.log(1 + lam)).real


def test_two_products_draws_the_tangent_and_the_gradient():
    A = torch.tensor([[0.2, 0.5], [-0.3, 0.4]])
    x, v, u = torch.tensor([0.1, 0.2]), torch.tensor([1.0, 0.5]), torch.tensor([0.3, -1.0])
    pushed = (A @ v).numpy()
    axes = chapter03.two_products(lambda t: t @ A.T, x, v, pushed, u, A.T @ u).axes
    for ax, start, step in zip(axes, (x.numpy(), (A @ x).numpy(), x.numpy()), (v.numpy(), pushed, (A.T @ u).numpy())):
        (arrow,) = [text for text in ax.texts if text.get_text() == ""]
        assert np.allclose(arrow.xyann, start) and np.allclose(arrow.xy, start + step)
    way = axes[1].lines[0].get_xydata() - (A @ x).numpy()
    assert np.allclose(way[:, 0] * pushed[1], way[:, 1] * pushed[0])  # a linear map's curve is its tangent
    assert len(axes[2].collections) > 0


def test_partial_sums_hang_from_the_truth():
    left, right = chapter03.partial_sums({"a": (torch.tensor([1.0, 0.5, 0.75]), 0.7), "b": ([2.0], 1.0)}).axes
    dashed, dots = left.lines
    assert list(dashed.get_ydata()) == [0.7, 0.7]
    assert list(dots.get_xdata()) == [1, 2, 3] and list(dots.get_ydata()) == [1, 0.5, 0.75]
    assert [segment[0, 1] for segment in left.collections[0].get_segments()] == [0.7] * 3
    assert right.get_title(loc="left") == "b"


def test_bias_disk_shows_the_function_inside_of_the_disk_and_the_eigenvalues():
    eigenvalues = torch.tensor([[0.5 + 0.1j, 0.5 - 0.1j], [-0.8, 0.2]], dtype=torch.complex128)
    one, two, _bar = chapter03.bias_disk(bias, {"n = 2": (2, None), "n = 5": (5, eigenvalues)}, reach=0.9).axes
    for ax, n in ((one, 2), (two, 5)):
        (field,) = [artist for artist in ax.collections if isinstance(artist, QuadContourSet)]
        edges = [-np.inf, *field.levels, np.inf]
        for lam in (-0.8, 0.6, 0.5 + 0.7j, -0.6j):
            value = float(bias(torch.tensor(complex(lam), dtype=torch.complex128), n))
            inside = [path.contains_point((lam.real, lam.imag)) for path in field.get_paths()]
            assert inside.index(True) == np.searchsorted(edges, value) - 1 and sum(inside) == 1
        assert not any(path.contains_point((0.95, 0.95)) for path in field.get_paths())
        assert [patch.radius for patch in ax.patches] == [1, 0.9]
    assert len(one.lines) == 0
    assert np.allclose(sorted(two.lines[0].get_xdata()), [-0.8, 0.2, 0.5, 0.5])


def test_bias_disk_is_orange_where_the_claim_is_too_high():
    ax, _bar = chapter03.bias_disk(bias, {"n = 2": (2, None)}).axes
    field = ax.collections[0]
    for value, orange in ((0.2, True), (-0.2, False)):
        red, _, blue, _ = field.cmap(field.norm(value))
        assert bool(red > blue) is orange


def test_probe_means_are_running_means():
    runs = {"2 terms": torch.tensor([[1.0, 3.0, 5.0], [2.0, 2.0, 2.0]]), "5 terms": torch.zeros(1, 3)}
    (ax,) = chapter03.probe_means(runs, truth=-0.5, limits={"2 terms": 2.5, "5 terms": 0.0}).axes
    assert [list(line.get_ydata()) for line in ax.lines] == [[1, 2, 3], [2, 2, 2], [0, 0, 0], [-0.5, -0.5]]
    assert texts(ax) == ["2 terms", "5 terms", "truth"]
    low, high = ax.get_ylim()
    assert low < -0.5 and high > 2.5


def test_free_nats_prints_both_accounts():
    points = torch.randn(5, 2)
    figure = chapter03.free_nats([("start", points, 0.0, 0.0), ("end", 0.5 * points, 1.448, -1e-9)])
    start, end = figure.axes
    assert texts(start) == ["claimed 0 nats", "true 0 nats"]
    assert texts(end) == ["claimed +1.45 nats", "true 0 nats"]
    assert np.allclose(end.collections[0].get_offsets(), 0.5 * points)


@pytest.mark.parametrize("number", [1, 3])
def test_scissors_draws_report_and_truth_and_the_impossible(number):
    history = torch.tensor([[10.0, -4.6, -4.7], [20.0, -3.0, -4.3], [30.0, -1.0, -4.8]])
    runs = {f"run {i}": (history, style.TRUNCATED) for i in range(number)}
    figure = chapter03.scissors(runs, BOUND, GAUSSIAN)
    assert len(figure.axes) == number
    for ax in figure.axes:
        bound, gaussian, reported, mean_reported, exact, mean_exact = ax.lines
        assert bound.get_ydata()[0] == BOUND and gaussian.get_ydata()[0] == GAUSSIAN
        assert np.allclose(reported.get_ydata(), history[:, 1]) and colour(reported) == style.TRUNCATED
        assert np.allclose(exact.get_ydata(), history[:, 2]) and colour(exact) == style.EXACT
        assert np.allclose(mean_reported.get_ydata(), history[:, 1].mean())  # three rows, all within two of each other
        assert np.allclose(mean_exact.get_ydata(), history[:, 2].mean())
        assert ax.get_ylim()[0] <= -4.8 and ax.get_ylim()[1] >= -1.0
        shaded = ax.patches[0].get_bbox()
        assert (shaded.ymin, shaded.ymax) == pytest.approx((BOUND, ax.get_ylim()[1]))
    assert "dotted: the best Gaussian" in texts(figure.axes[0])


def test_scissors_moves_labels_apart_that_would_overlap():
    history = torch.tensor([[10.0, -4.0, -4.01], [20.0, -3.9, -3.91]])
    (ax,) = chapter03.scissors({"honest": (history, style.ROULETTE)}, BOUND, GAUSSIAN).axes
    shifts = {text.get_text(): text.xyann[1] for text in ax.texts if text.get_text() in ("reported", "exact")}
    assert shifts["reported"] - shifts["exact"] >= 14


def test_bias_map_sums_the_blocks_and_centres_the_colours():
    field = np.linspace(-1, 3, 16).reshape(4, 4)
    bars, plane, _bar = chapter03.bias_map([0.5, 0.25], field, limit=6.0, points=torch.zeros(3, 2)).axes
    assert [bar.get_height() for bar in bars.patches] == [0.5, 0.25]
    assert "0.75 nats" in bars.get_title(loc="left")
    (image,) = plane.images
    assert image.get_clim() == (-3, 3) and image.get_extent() == [-6, 6, -6, 6] and image.origin == "lower"
    assert np.allclose(image.get_array(), field)


def test_bias_map_spends_no_colours_on_a_sign_that_does_not_occur():
    _, plane, _bar = chapter03.bias_map([1.0], np.full((2, 2), 3.0), limit=6.0, points=torch.zeros(3, 2)).axes
    assert plane.images[0].get_clim() == (0, 3)


def test_densities_share_one_scale():
    one, two, _bar = chapter03.densities({"a": torch.ones(3, 3), "b": torch.zeros(3, 3)}, limit=2.0, level=0.5).axes
    assert np.allclose(one.images[0].get_array(), 2) and np.allclose(two.images[0].get_array(), 0)
    assert one.images[0].get_clim() == two.images[0].get_clim()


def test_point_clouds_keep_points_colours_and_limits():
    points = torch.randn(7, 2)
    clouds = {"data": (points, style.EXACT), "samples": (points + 1, style.TRUNCATED)}
    data, samples = chapter03.point_clouds(clouds, limit=5.0).axes
    assert np.allclose(data.lines[0].get_xydata(), points) and np.allclose(samples.lines[0].get_xydata(), points + 1)
    assert colour(samples.lines[0]) == style.TRUNCATED and samples.get_xlim() == (-5, 5)
