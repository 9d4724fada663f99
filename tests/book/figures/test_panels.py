"""What several figures draw, and the style that all of them share."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from resflow_lite.book.figures import panels, style


def test_tile_puts_images_row_by_row_with_gaps():
    images = torch.arange(1.0, 4.0).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    canvas = panels.tile(images, columns=2)
    assert canvas.shape == (5, 5)
    assert (canvas[:2, :2] == 1).all() and (canvas[:2, 3:] == 2).all() and (canvas[3:, :2] == 3).all()
    assert np.isnan(canvas[2]).all() and np.isnan(canvas[3:, 3:]).all()


def test_tile_keeps_colours():
    assert panels.tile(torch.rand(4, 3, 2, 2), columns=4).shape == (2, 11, 3)


@pytest.mark.parametrize("channels", [1, 3])
def test_image_grid_shows_the_images_themselves(channels):
    images = torch.rand(4, channels, 8, 8)
    figure = panels.image_grid(images, columns=2, title="four")
    (ax,) = figure.axes
    shown = np.asarray(ax.images[0].get_array())
    assert np.allclose(shown[:8, :8].reshape(-1), images[0].movedim(0, -1).reshape(-1))
    assert ax.get_title(loc="left") == "four"


def test_image_rows_labels_each_block_and_keeps_its_range():
    rows = {"a": torch.rand(4, 1, 8, 8), "b": torch.randn(4, 1, 8, 8)}
    figure = panels.image_rows(rows, ranges={"b": (-3, 3)})
    assert [[text.get_text() for text in ax.texts] for ax in figure.axes] == [["a"], ["b"]]
    assert [ax.images[0].get_clim() for ax in figure.axes] == [(0, 1), (-3, 3)]


def test_styled_figures_leave_the_settings_of_the_reader_alone():
    before = dict(plt.rcParams)
    figure = panels.image_grid(torch.rand(1, 1, 8, 8), columns=1)
    assert figure.dpi == style.STYLE["figure.dpi"]
    assert dict(plt.rcParams) == before


def test_the_colours_of_the_estimators_differ():
    assert len({style.EXACT, style.TRUNCATED, style.ROULETTE}) == 3


def test_panels_beside_each_other_share_an_axis_that_is_named_once():
    figure, axes = panels.beside(["a", "b"], (6, 3), "nats")
    assert [ax.get_title(loc="left") or ax.get_title() for ax in axes] == ["a", "b"]
    assert [ax.get_ylabel() for ax in axes] == ["nats", ""]
    axes[0].set_ylim(0, 5)
    assert axes[1].get_ylim() == (0, 5) and figure.axes == list(axes)


def test_rows_are_labelled_from_the_top_down():
    ax = plt.figure().add_subplot()
    panels.rows(ax, (name for name in ("first", "second")), xlabel="nats")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["first", "second"]
    assert list(ax.get_yticks()) == [0, 1] and ax.get_ylim() == (1.5, -0.5) and ax.get_xlabel() == "nats"


def test_a_training_curve_shows_training_validation_and_lines_to_compare_with():
    history = [dict(step=10, bits_per_dim=2.0, validation=2.1), dict(step=20, bits_per_dim=1.9)]
    (ax,) = panels.training_curve(history, {"independent pixels": 2.42}).axes
    line, training, scored = ax.lines
    assert list(line.get_ydata()) == [2.42, 2.42]
    assert list(training.get_xdata()) == [10, 20] and list(training.get_ydata()) == [2.0, 1.9]
    assert list(scored.get_xdata()) == [10] and list(scored.get_ydata()) == [2.1]
    assert len(panels.training_curve(history[1:], {}).axes[0].lines) == 1
    assert len(panels.training_curve([], {}).axes[0].lines[0].get_xdata()) == 0  # a run that has just begun


def test_a_reader_s_setting_for_tex_reaches_no_figure(tmp_path):
    with plt.rc_context({"text.usetex": True}):
        panels.image_grid(torch.rand(2, 1, 8, 8), 2, title="50 % of a_b").savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 0


def test_diagonal_shows_found_over_right_and_the_line_where_they_agree():
    figure = panels.diagonal(torch.tensor([1.0, 2.0]), torch.tensor([0.5, 4.0]), "right", "found")
    (ax,) = figure.axes
    assert np.allclose(ax.collections[0].get_offsets(), [(1, 0.5), (2, 4)])
    assert np.allclose(ax.lines[0].get_xydata(), [(0.5, 0.5), (4, 4)])
