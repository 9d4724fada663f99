"""What the figures of chapter 4 draw: the numbers in them, not the pixels."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.container import BarContainer

import resflow_lite as rf
from resflow_lite.book.figures import chapter04
from resflow_lite.book.figures.style import AMBER, GREEN, GREY, PINK, ROULETTE, SKY, TRUNCATED


def test_a_law_has_one_colour_whatever_else_its_name_says():
    names = ["Geometric(0.5)", "A: Geometric(0.5), past its wall", "Geometric(0.25): 5.0 products", "B: Poisson(2)"]
    colours = [chapter04.law_style(name)["color"] for name in [*names, "Matched", "my own law"]]
    assert colours == [ROULETTE, ROULETTE, SKY, PINK, GREEN, GREY]


def test_intervals_that_miss_are_amber_and_counted():
    mean, half = np.array([0.0, 0.3, -0.5, 0.1]), np.array([0.2, 0.2, 0.4, 0.2])
    figure = chapter04.intervals({"A": (mean, half), "B": (mean - 9, half)}, truth=0.0)
    first, second = figure.axes
    (bars,) = first.collections
    ends = [segment[:, 1].tolist() for segment in bars.get_segments()]
    assert np.allclose(ends, np.stack([mean - half, mean + half], 1))
    assert [to_hex(c).upper() for c in bars.get_colors()] == [GREY, AMBER, AMBER, GREY]
    assert first.get_title(loc="left") == "A\n2 of 4 miss" and second.get_title(loc="left") == "B\n4 of 4 miss"


@pytest.mark.parametrize("law", [rf.Geometric(0.5), rf.Poisson(2.0)])
def test_every_box_of_weights_has_area_one_and_the_height_of_its_chance(law):
    (ax,) = chapter04.weight_boxes({"law": law}, n_exact=2, widest=50).axes
    heights = [box.get_height() for box in ax.patches]
    assert all(box.get_width() * box.get_height() == pytest.approx(1) for box in ax.patches)
    assert heights == pytest.approx([1, 1] + [law.survival(k) for k in range(1, len(heights) - 1)])
    assert law.survival(len(heights) - 1) < 1 / 50 <= heights[-1]
    lefts = np.cumsum([0] + [box.get_width() for box in ax.patches])[:-1]
    assert [box.get_x() for box in ax.patches] == pytest.approx(lefts)


def test_law_curves_draw_each_law_and_its_wall():
    curves = {"Geometric(0.5)": [1.0, 10.0], "Matched": [2.0, 3.0]}
    figure = chapter04.law_curves([0.1, 0.7], curves, "r", "price", walls={"Geometric(0.5)": 0.71})
    (ax,) = figure.axes
    assert [line.get_ydata().tolist() for line in ax.lines[:2]] == list(curves.values())
    assert ax.lines[2].get_xdata() == [0.71, 0.71] and ax.lines[2].get_color() == ROULETTE
    assert (ax.get_xscale(), ax.get_yscale()) == ("linear", "log")
    assert chapter04.law_curves([1, 10], curves, "n", "missing", logx=True).axes[0].get_xscale() == "log"


def test_coverage_is_in_percent_beside_its_nominal_value():
    (ax,) = chapter04.coverage([0.5, 0.9], {"Poisson(2)": [0.94, 0.33]}).axes
    nominal, curve = ax.lines
    assert list(nominal.get_ydata()) == [95, 95] and list(curve.get_ydata()) == pytest.approx([94, 33])


def test_fans_draw_runs_median_claim_and_bias_against_products():
    draws, errors = np.array([10, 100, 1000]), np.array([[1.0, 0.5, 0.2], [2.0, 0.1, 0.1], [0.5, 0.3, 0.4]])
    race = {"errors": errors, "claimed": errors / 10, "cost": 4.0, "bias": 0.47}
    figure = chapter04.fans(draws, {"B: Poisson(2)": race, "C: Matched": race | {"cost": 8.0}})
    for ax, cost in zip(figure.axes, (4.0, 8.0)):
        *runs, median, claim, flat = ax.lines
        assert [list(run.get_ydata()) for run in runs] == errors.tolist()
        assert list(median.get_ydata()) == [1.0, 0.3, 0.2] and list(claim.get_ydata()) == [0.1, 0.03, 0.02]
        assert list(median.get_xdata()) == list(draws * cost)
        assert list(flat.get_ydata()) == [0.47, 0.47] and flat.get_color() == TRUNCATED
        assert ax.get_xlim() == (80, 4000)  # where every fan has been drawn


def test_batch_means_put_every_batch_on_the_row_of_its_kind():
    means = {"shared": np.array([1.0, 3.0]), "own": np.array([1.9, 2.1])}
    (ax,) = chapter04.batch_means(means, exact=2.0).axes
    for row, (values, line) in enumerate(zip(means.values(), ax.lines)):
        assert list(line.get_xdata()) == list(values) and (abs(line.get_ydata() - row) < 0.3).all()
    assert list(ax.lines[-1].get_xdata()) == [2.0, 2.0]
    assert [label.get_text() for label in ax.get_yticklabels()][0] == "shared\nstandard deviation 1.00"


def test_equal_products_draws_sizes_of_signed_errors():
    (ax,) = chapter04.equal_products([1, 2], {"power series": [-0.5, 0.1], "Krylov": [0.2, -1e-3]}, noise=0.7).axes
    series, krylov, noise = ax.lines
    assert list(series.get_ydata()) == [0.5, 0.1] and list(krylov.get_ydata()) == [0.2, 1e-3]
    assert series.get_color() == TRUNCATED and list(noise.get_ydata()) == [0.7, 0.7]


def test_noise_bars_stand_side_by_side_with_two_standard_errors():
    noise = {"plain": np.array([1.0, 2.0]), "variate": np.array([0.5, 1.5]), "more": np.array([0.2, 0.3])}
    (ax,) = chapter04.noise_bars({name: (values, values / 10) for name, values in noise.items()}).axes
    bars = [group for group in ax.containers if isinstance(group, BarContainer)]
    for group, values in zip(bars, noise.values(), strict=True):
        assert [bar.get_height() for bar in group] == list(values)
        (reach,) = group.errorbar.lines[2]
        assert np.allclose([np.ptp(segment[:, 1]) for segment in reach.get_segments()], 4 * values / 10)
    edges = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in ax.patches)
    assert all(right <= left + 1e-9 for (_, right), (left, _) in zip(edges, edges[1:]))


def test_who_computes_colours_every_term_of_every_sample_and_writes_its_weight():
    nan = float("nan")
    own = np.array([[1.0, 1, 1, 1], [0, 2, 0, 2], [0, 4, 0, 0]])
    dealt = np.array([[1, 1, 1, 1], [2, 2, nan, nan], [4, nan, nan, nan], [8, nan, nan, nan]])
    figure = chapter04.who_computes({"own": (own, 1), "dealt": (dealt, 3)}, n_exact=1)
    kind = {name: i for i, name in enumerate(chapter04.KINDS)}
    always, rank, chance, waste, none = (
        kind[name] for name in ("always", "by rank", "by chance", "computed, weight 0", "not computed")
    )
    right = [
        [[always] * 4, [waste, chance, waste, chance], [waste, chance, waste, waste]],
        [[always] * 4, [rank, rank, none, none], [rank, none, none, none], [chance, none, none, none]],
    ]
    for ax, kinds, weights in zip(figure.axes, right, (own, dealt), strict=True):
        cells, _ = ax.collections
        assert cells.get_array().reshape(len(kinds), 4).tolist() == kinds
        assert [text.get_text() for text in ax.texts] == [f"× {2**k}" for k in range(len(weights))]
        assert ax.get_ylim() == (4.6, 0.4)  # the first term on top, the same height in every panel
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert named == ["computed, weight 0", "always", "by rank", "by chance"]
