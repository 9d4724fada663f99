"""What the figures of step costs draw: the numbers in them, not the pixels."""

import matplotlib

matplotlib.use("Agg")

from resflow_lite.book.figures.pages import memory_and_time

MODES = {("series", "store"): {1: 2e6, 4: 8e6}, ("neumann", "recompute"): {1: 1e6, 4: 1e6}}


def test_peaks_are_in_megabytes_a_panel_for_each_axis():
    axes = memory_and_time.grid_of_peaks({"more terms": ("terms", MODES), "more blocks": ("blocks", MODES)}).axes
    assert [ax.get_title(loc="left") for ax in axes] == ["more terms", "more blocks"]
    assert [list(line.get_ydata()) for line in axes[0].lines] == [[2, 8], [1, 1]]


def test_savings_show_the_claim_and_the_laws():
    (ax,) = memory_and_time.savings({"a": {1: 2.0, 4: 5.0}}, 10, {"Geometric": 3.0}, 4).axes
    line, claim, law = ax.lines
    assert list(line.get_ydata()) == [2, 5]
    assert set(claim.get_ydata()) == {10} and set(law.get_xdata()) == {3}


def test_times_and_memory_are_drawn_by_mode():
    (ax,) = memory_and_time.time_against_terms(MODES).axes
    assert list(ax.lines[0].get_ydata()) == [2e6, 8e6]
    (ax,) = memory_and_time.time_and_memory({("series", "store"): (1.0, 1.0), ("neumann", "store"): (0.5, 0.2)}).axes
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines] == [(1.0, 1.0), (0.5, 0.2)]
