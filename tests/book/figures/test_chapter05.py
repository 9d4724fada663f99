"""What the figures of chapter 5 draw: the numbers in them, not the pixels."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib.colors import to_hex

from resflow_lite.book.figures import chapter05 as memory
from resflow_lite.book.figures import style

MODES = [("series", "store"), *(("neumann", mode) for mode in ("store", "backward_in_forward", "recompute"))]


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_a_mountain_is_live_bytes_with_a_dot_at_the_end_of_the_forward_pass():
    steps = {("series", 2): ([1000, 3000, 2000], 2), ("neumann", 4): ([5000, 9000, 0, 0], 1)}
    (ax,) = memory.mountains(steps).axes
    lines = [line.get_ydata() for line in ax.lines]
    assert list(lines[0]) == [1, 3, 2] and list(lines[2]) == [5, 9, 0, 0]
    assert lines[1] == [3] and list(ax.lines[1].get_xdata()) == [1] and lines[3] == [5]
    assert [(text.get_text(), text.xy) for text in ax.texts] == [
        ("2 terms", (1, 3)),
        ("4 terms", (1, 9)),
    ]
    assert len({to_hex(text.get_color()) for text in ax.texts}) == 2
    assert [text.get_text() for text in ax.get_legend().texts][:2] == ["backpropagated series", "Neumann gradient"]


def test_truncation_errors_have_a_guide_of_slope_rho():
    (ax,) = memory.truncation_errors(range(1, 6), [0.3, 0.1, 0.04, 0.02, 0.01], [0.8, 0.4, 0.2, 0.1, 0.05], 0.5).axes
    guide, gradient, value = (line.get_ydata() for line in ax.lines)
    assert np.allclose(guide[1:] / guide[:-1], 0.5)
    assert list(gradient) == [0.8, 0.4, 0.2, 0.1, 0.05] and value[0] == 0.3
    assert ax.get_yscale() == "log" and texts(ax)[0] == "gradient" and texts(ax)[2] == "value"


def test_draws_are_shown_against_each_other_and_with_their_means():
    generator = np.random.default_rng(0)
    series = generator.normal(1, 1, 500)
    left, right = memory.draws_of_two(series, series + 0.1, 1.5).axes
    assert np.allclose(left.lines[0].get_xdata() + 0.1, left.lines[0].get_ydata())
    means = [line.get_xdata()[0] for line in right.lines if line.get_marker() == "^"]
    assert np.allclose(means, [series.mean(), series.mean() + 0.1])
    assert right.lines[-1].get_xdata()[0] == 1.5


def test_the_wrong_number_has_the_colour_of_a_biased_estimator():
    left, right = memory.which_number({"inner products": (-3.7, 0.1), "surrogate": (-5.3, 0.1)}, -3.6).axes
    j, wanted = left.lines[0].get_data()
    assert np.allclose(wanted, np.log1p(j)) and np.allclose(left.lines[1].get_ydata(), j / (1 + j))
    assert texts(right)[:2] == ["inner products", "surrogate"]
    assert [to_hex(text.get_color()).upper() for text in right.texts[:2]] == [style.ROULETTE, style.TRUNCATED]


def test_one_weight_for_all_shows_computed_against_true():
    true = np.array([1.0, -2.0, 0.5])
    right, wrong = memory.one_weight_for_all({"equal": (true, true), "not": (true, 3 * true)}).axes
    assert np.allclose(right.lines[1].get_ydata(), true) and np.allclose(wrong.lines[1].get_ydata(), 3 * true)
    assert wrong.get_xlim() == wrong.get_ylim() and wrong.get_xlim()[1] > 6


def test_differences_tell_rounding_from_noise_and_noise_from_bugs():
    rows = {"mode": [0.0, 0.0], "by hand": [3e-16], "other draws": [0.5, 0.7], "bug": [0.9]}
    (ax,) = memory.differences(rows).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == list(rows)
    assert texts(ax)[:4] == ["0", "3e-16", "70%", "90%"]
    colours = [to_hex(text.get_color()).upper() for text in ax.texts[:4]]
    assert colours == [style.GREEN, style.GREEN, style.ROULETTE, style.TRUNCATED]
    # nothing at zero is lost on a logarithmic axis
    assert (ax.lines[0].get_xdata() > ax.get_xlim()[0]).all()


def test_bytes_are_drawn_for_every_mode_against_terms_and_blocks():
    by_terms = {mode: {n: 1e6 * (i + 1) * n for n in (1, 4, 16)} for i, mode in enumerate(MODES)}
    by_blocks = {mode: {m: 2e6 * m for m in (1, 8)} for mode in MODES}
    left, right = memory.bytes_against_terms(by_terms, by_blocks).axes
    assert len(left.lines) == len(right.lines) == 4 and left.get_yscale() == "log"
    assert list(left.lines[2].get_ydata()) == [3, 12, 48] and list(right.lines[0].get_ydata()) == [2, 16]
    assert texts(left)[0] == "store 16.0" and texts(left)[-1] == "recompute 64.0"
    assert [line.get_linestyle() for line in left.lines] == ["--"] + 3 * ["-"]
    assert left.lines[0].get_color() == left.lines[1].get_color() != left.lines[2].get_color()


def test_memory_against_time_puts_every_mode_where_it_was_measured():
    points = {mode: (0.5 + i, 1 / (1 + i)) for i, mode in enumerate(MODES)}
    (ax,) = memory.memory_against_time(points).axes
    assert [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in ax.lines] == list(points.values())
    assert "neumann, backward-in-forward" in texts(ax)
