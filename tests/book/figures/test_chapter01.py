"""What the figures of chapter 1 draw."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from resflow_lite.book.figures import chapter01, style


def test_mass_through_map_draws_bars_whose_area_is_the_mass_on_both_sides():
    x_edges = torch.tensor([-1.0, 0.0, 0.5, 2.0])
    mass = torch.tensor([0.2, 0.3, 0.5])
    figure = chapter01.mass_through_map(x_edges, x_edges**3, mass, (x_edges, x_edges**3), marked=(1,))
    left, _, _, below = figure.axes
    for ax in (left, below):
        assert [abs(bar.get_width() * bar.get_height()) for bar in ax.patches] == pytest.approx(mass.tolist())
    # the marked cell has one colour in both histograms
    assert to_hex(left.patches[1].get_facecolor()) == to_hex(below.patches[1].get_facecolor())
    assert to_hex(left.patches[0].get_facecolor()) != to_hex(left.patches[1].get_facecolor())


def test_smallest_flow_adds_the_terms_and_marks_an_inner_maximum_only():
    scale = torch.tensor([0.1, 0.5, 1.0])
    (ax,) = chapter01.smallest_flow(scale, torch.tensor([-1.0, -1.0, -3.0]), torch.tensor([-3.0, -1.0, 0.0])).axes
    sums = [line for line in ax.lines if line.get_label() == "their sum"]
    assert list(sums[0].get_ydata()) == [-4, -2, -3]
    assert [text.get_text() for text in ax.texts] == ["a = 0.50"]


def test_shrinking_squares_closes_the_parallelogram_and_prints_the_ratios():
    linear = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    figure = chapter01.shrinking_squares([linear, 2 * linear], linear, (1.0, 0.5), (4.0, 3.5))
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["side 1: area × 4.000", "side 0.5: area × 3.500"]
    for ax in figure.axes:
        assert np.allclose(ax.lines[0].get_xydata(), [*linear.tolist(), [0, 0]])
    assert np.allclose(figure.axes[1].patches[0].get_xy()[:4], 2 * linear)


def test_clouds_draws_every_point_within_its_limits():
    points = {"a": torch.randn(20, 2), "b": torch.randn(30, 2)}
    figure = chapter01.clouds(points, limits=(1, 5), axis="z")
    for ax, cloud, limit in zip(figure.axes, points.values(), (1, 5)):
        assert np.allclose(ax.collections[0].get_offsets(), cloud)
        assert ax.get_xlim() == ax.get_ylim() == (-limit, limit)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["a", "b"]
    assert figure.axes[0].get_xlabel() == "$z_1$"


def test_training_terms_draws_both_terms_and_their_sum():
    rows = [(1, -3.0, 1.0), (20, -2.0, -4.0)]
    figure = chapter01.training_terms({"one": rows, "other": rows})
    for ax, name in zip(figure.axes, ("one", "other")):
        assert [list(line.get_ydata()) for line in ax.lines] == [[-3, -2], [1, -4], [-2, -6]]
        assert ax.get_title(loc="left") == name


def test_heat_maps_puts_x2_upwards_and_gives_a_range_around_zero_two_colours():
    values = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
    figure = chapter01.heat_maps({"a": values, "b": values}, 3, ((0, 2), (-2, 2)))
    first, second = (ax.images[0] for ax in figure.axes if ax.images)
    assert first.origin == "lower" and list(first.get_extent()) == [-3, 3, -3, 3]
    assert np.allclose(first.get_array(), values)
    assert first.get_cmap().name != second.get_cmap().name and second.get_clim() == (-2, 2)


def test_boxes_of_mass_gives_every_box_the_mass_of_its_cell():
    square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    cells = {"z": torch.stack([square, square + 1]), "x": torch.stack([3 * square, square + 1])}
    areas, mass = {"z": torch.tensor([1.0, 1.0]), "x": torch.tensor([9.0, 1.0])}, torch.tensor([0.6, 0.4])
    boxes, *planes, _ = chapter01.boxes_of_mass(cells, areas, mass, {"A": 0, "B": 1}).axes
    assert [bar.get_width() * bar.get_height() for bar in boxes.patches] == pytest.approx([0.6, 0.6, 0.4, 0.4])
    assert [bar.get_width() for bar in boxes.patches] == pytest.approx([1, 9, 1, 1])
    starts = [bar.get_x() for bar in boxes.patches]
    ends = [bar.get_x() + bar.get_width() for bar in boxes.patches]
    assert all(end <= start + 1e-9 for end, start in zip(ends, starts[1:]))  # none hides another
    for plane, letter in zip(planes, "zx"):
        density = plane.collections[0].get_array()
        assert np.allclose(density, mass / areas[letter])
        assert [text.get_text() for text in plane.texts] == ["A", "B"]
        assert to_hex(plane.patches[0].get_facecolor()).upper() == style.TRUNCATED
