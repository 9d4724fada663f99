"""What the figures of chapter 2 draw."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from resflow_lite.book.figures import chapter02, style


def test_errors_and_bounds_draws_each_line_in_its_panel():
    lines = {"a priori": [4.0, 2.0], "a posteriori": [3.0, 1.0], "error": [2.0, 0.5]}
    figure = chapter02.errors_and_bounds({"L = 0.5": lines, "L = 0.9": lines})
    for ax, title in zip(figure.axes, ("L = 0.5", "L = 0.9")):
        assert ax.get_title(loc="left") == title and ax.get_yscale() == "log"
        assert {line.get_label(): list(line.get_ydata()) for line in ax.lines} == lines


def test_longest_image_draws_the_ellipse_and_its_longest_vector():
    matrix = torch.tensor([[0.0, 2.0], [1.0, 0.0]])
    circle, ellipse = chapter02.longest_image(matrix, torch.eye(2)).axes
    assert np.allclose(np.linalg.norm(circle.lines[0].get_xydata(), axis=1), 1)
    assert np.abs(ellipse.lines[0].get_xdata()).max() == pytest.approx(2, abs=1e-3)
    arrows = [text.xy for text in ellipse.texts if text.arrow_patch]
    assert np.allclose(arrows, matrix.T)  # A e_1 and A e_2
    assert ellipse.get_title(loc="left").endswith("2.000")


def test_folded_grids_paints_the_cells_that_are_turned_over():
    cells = torch.tensor([[[0.0, 0], [1, 0], [1, 1], [0, 1]], [[1.0, 0], [2, 0], [2, 1], [1, 1]]])
    figure = chapter02.folded_grids({"a": (cells, torch.tensor([False, True])), "b": (2 * cells, [False, False])})
    for ax, over in zip(figure.axes, ([False, True], [False, False])):
        (drawn,) = ax.collections
        colours = [to_hex(colour).upper() == style.TRUNCATED for colour in drawn.get_facecolor()]
        assert colours == over
    assert np.allclose(figure.axes[1].collections[0].get_paths()[1].vertices[:4], 2 * cells[1])


def test_norms_in_training_divides_by_the_estimate_only_where_it_exceeds_the_target():
    raw, applied = chapter02.norms_in_training([0.5, 2.0], [0.4, 1.0], [0.5, 2.5], coeff=0.8).axes
    assert [list(line.get_ydata()) for line in raw.lines] == [[0.5, 2.0], [0.4, 1.0], [0.5, 2.5]]
    # 0.4 and 0.5 are below the target: the weight is left as it is
    assert np.allclose(applied.lines[0].get_ydata(), [0.5, 1.6])
    assert np.allclose(applied.lines[1].get_ydata(), [0.5, 0.64])


def test_solver_race_counts_evaluations_from_one():
    figure = chapter02.solver_race({"easy": {"Banach": [1.0, 0.1, 0.01], "Anderson": [1.0, 0.01]}}, tol=0.01)
    (ax,) = figure.axes
    banach, anderson, tol = ax.lines
    assert list(banach.get_xdata()) == [1, 2, 3] and list(anderson.get_ydata()) == [1.0, 0.01]
    assert to_hex(banach.get_color()) != to_hex(anderson.get_color())
    assert tol.get_ydata()[0] == 0.01


def test_wrong_preimages_tells_the_right_points_from_the_wrong_ones():
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    returned = torch.tensor([[0.0, 0.0], [-1.0, 0.0], [2.0, 1e-9]])
    before, after = chapter02.wrong_preimages(x, returned).axes
    assert np.allclose(before.collections[0].get_offsets(), x)
    ways, right, wrong = after.collections
    assert np.allclose(ways.get_segments(), [[[1, 0], [-1, 0]]])
    assert len(right.get_offsets()) == 2 and np.allclose(wrong.get_offsets(), [[-1, 0]])
    assert to_hex(wrong.get_facecolor()[0]).upper() == style.TRUNCATED
    assert "1 of 3" in after.get_title(loc="left")
