"""What the figures draw: the numbers in them, not the pixels."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from resflow_lite.book.figures import chapter08, style


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_point_masses_draws_both_curves_and_the_floor():
    widths, raw, dequantised = [1.0, 0.1, 0.01], [3.0, 0.0, -3.0], [3.5, 3.1, 20.0]
    (ax,) = chapter08.point_masses(widths, raw, dequantised, floor=3.0).axes
    assert [list(line.get_ydata()) for line in ax.lines[:3]] == [raw, dequantised, [3.0, 3.0]]
    assert ax.xaxis_inverted() and ax.get_ylim()[0] < -3


def test_logit_map_draws_densities():
    figure = chapter08.logit_map(torch.rand(500), torch.randn(500))
    for ax in figure.axes:
        assert sum(bar.get_height() * bar.get_width() for bar in ax.patches) == pytest.approx(1)


def test_squeeze_map_gives_a_number_one_colour_everywhere():
    before = torch.arange(16.0).view(1, 1, 4, 4)
    figure = chapter08.squeeze_map(before[0, 0], torch.nn.functional.pixel_unshuffle(before, 2)[0])
    whole, *channels = [
        {text.get_text(): to_hex(patch.get_facecolor()) for text, patch in zip(ax.texts, ax.patches)}
        for ax in figure.axes
    ]
    assert len(channels) == 4 and len(whole) == 16
    assert {number: colour for channel in channels for number, colour in channel.items()} == whole
    assert all(len(set(channel.values())) == 1 for channel in channels)


def test_layer_list_names_every_layer_with_shape_and_parameters():
    rows = [("Logit", (1, 8, 8), 0), ("residual, 8 x 8", (1, 8, 8), 5379), ("residual, dense", (64,), 12483)]
    (ax,) = chapter08.layer_list(rows).axes
    assert {"Logit", "residual, 8 x 8", "1 x 8 x 8", "64", "0", "5,379", "12,483"} <= set(texts(ax))


def test_cost_per_image_shows_the_cheapest_and_the_most_expensive():
    bits = torch.linspace(1, 3, 20)[torch.randperm(20)]
    images = bits.view(20, 1, 1, 1).expand(20, 1, 2, 2)
    cheap, histogram, dear = chapter08.cost_per_image(bits, images, extremes=2).axes
    assert np.nanmax(np.ma.filled(cheap.images[0].get_array(), np.nan)) == pytest.approx(1 + 2 / 19)
    assert np.nanmin(np.ma.filled(dear.images[0].get_array(), np.nan)) == pytest.approx(3 - 2 / 19)
    assert sum(bar.get_height() for bar in histogram.patches) == 20
    assert histogram.lines[0].get_xdata()[0] == pytest.approx(2)


def test_error_budget_tells_noise_from_bias_by_colour_and_sign():
    (ax,) = chapter08.error_budget({"images": 0.01}, {"one": -0.2, "two": 0.03}, {"FFJORD": 0.02}).axes
    ends = [bar.get_x() + bar.get_width() for bar in ax.patches]
    assert ends == pytest.approx([0.01, 0.2, 0.03])
    assert [to_hex(bar.get_facecolor()).upper() for bar in ax.patches] == [style.ROULETTE, *[style.TRUNCATED] * 2]
    assert texts(ax) == ["±0.01", "−0.2", "+0.03", "FFJORD"]
    assert ax.lines[0].get_xdata()[0] == 0.02


def test_error_budget_survives_an_error_of_zero():
    (ax,) = chapter08.error_budget({"images": 0.0}, {"one": 0.0}, {}).axes
    assert len(ax.patches) == 2


def test_estimator_errors_draws_two_standard_errors_around_the_error():
    error, standard_error = torch.tensor([0.1, -0.2]), torch.tensor([0.01, 0.02])
    figure = chapter08.estimator_errors(
        [3.0, -1.0], {"2 terms": (error, standard_error), "roulette": (error, standard_error)}
    )
    top, bottom = figure.axes
    assert [bar.get_height() for bar in top.patches] == [3.0, -1.0]
    for container, colour in zip(bottom.containers, (None, style.ROULETTE)):
        points, _, (bars,) = container.lines
        assert np.allclose(points.get_ydata(), error)
        lengths = [segment[1, 1] - segment[0, 1] for segment in bars.get_segments()]
        assert np.allclose(lengths, 4 * standard_error)
        assert colour is None or to_hex(points.get_color()).upper() == colour


def test_where_the_bits_go_is_a_bill_that_adds_up():
    parts = {"raw": 4.0, "logit": -4.5, "normal": 2.0}
    pictures, bill = chapter08.where_the_bits_go(parts, torch.rand(4, 1, 8, 8), columns=2, title="samples").axes
    *steps, total = [(bar.get_bbox().xmin, abs(bar.get_width())) for bar in bill.patches]
    level = 0.0
    for (left, width), value in zip(steps, parts.values()):
        assert left == pytest.approx(min(level, level + value)) and width == pytest.approx(abs(value))
        level += value
    assert total == pytest.approx((0, 1.5))
    assert [label.get_text() for label in bill.get_yticklabels()] == ["raw", "logit", "normal", "bits/dim"]
    assert pictures.get_title(loc="left") == "samples"
