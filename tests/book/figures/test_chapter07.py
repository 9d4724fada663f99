"""The figures of chapter 7 show the numbers that they were given."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

import resflow_lite as rf
from resflow_lite.book.figures import chapter07

LABELS = {name: system.label for name, system in rf.systems.items()}


def title(ax):
    return ax.get_title(loc="left")


def colour(name):
    return chapter07.SYSTEM_COLOURS[name].lower()


def test_every_system_has_a_colour_of_its_own():
    assert set(chapter07.SYSTEM_COLOURS) == set(rf.systems)
    assert len(set(chapter07.SYSTEM_COLOURS.values())) == len(rf.systems)


def test_point_sets_shows_every_set_and_leaves_no_empty_frame():
    sets = {name: rf.toy_data(name, 20) for name in rf.toy_names[:6]}
    axes = chapter07.point_sets(sets).axes
    assert [title(ax) for ax in axes[:6]] == list(sets)
    assert np.allclose(axes[3].collections[0].get_offsets(), sets[rf.toy_names[3]])
    assert [ax.axison for ax in axes] == [True] * 6 + [False] * 2


def test_coupling_curves_and_their_slopes():
    x = torch.linspace(-1, 1, 5)
    left, right = chapter07.coupling_curves(x, {"realnvp": (2 * x, torch.full((5,), 2.0))}, LABELS).axes
    assert np.allclose(left.lines[0].get_ydata(), 2 * x) and np.allclose(right.lines[0].get_ydata(), 2)


def test_training_curves_average_windows_over_time_and_over_steps():
    history = [(0.5 * step, -float(step)) for step in range(1, 61)]
    time, steps = chapter07.training_curves({"glow": history}, LABELS).axes
    assert np.allclose(time.lines[0].get_ydata(), np.arange(1.5, 61, 2))
    assert np.allclose(steps.lines[0].get_xdata(), np.arange(1.5, 61, 2))
    assert np.allclose(time.lines[0].get_xdata(), np.arange(1.5, 61, 2) / 2)


def test_a_spike_leaves_the_picture_of_the_training_curves():
    calm = [(0.5 * step, 4 - 0.01 * step) for step in range(1, 61)]
    spike = [(seconds, 400.0 if i == 30 else loss) for i, (seconds, loss) in enumerate(calm)]
    low, high = chapter07.training_curves({"glow": spike, "realnvp": calm}, LABELS).axes[0].get_ylim()
    assert -4.1 < low < -3.8 and high > -3.45


@pytest.mark.parametrize("ceiling", [-3.466, None])
def test_densities_stand_beside_their_nats(ceiling):
    panels = {label: torch.rand(8, 8) for label in LABELS.values()}
    nats = {label: -4 + 0.1 * i for i, label in enumerate(panels)}
    data, *maps, last = chapter07.densities(panels, torch.randn(50, 2), 4.0, nats, ceiling).axes
    assert title(data) == "data" and title(maps[5]) == "Residual Flow  -3.50"
    assert all(ax.collections for ax in maps)
    assert [float(line.get_xdata()[0]) for line in last.lines[:6]] == list(nats.values())
    assert [text.get_text() for text in last.texts] == list(LABELS.values())
    assert len(last.lines) == (6 if ceiling is None else 7)


def test_block_by_block_has_a_row_for_each_system():
    clouds = {f"block {i}": torch.randn(30, 2) for i in range(3)}
    axes = chapter07.block_by_block({"one": clouds, "two": clouds}, torch.arange(30.0)).axes
    assert len(axes) == 6 and [axes[0].get_ylabel(), axes[3].get_ylabel()] == ["one", "two"]
    assert np.allclose(axes[5].collections[0].get_offsets(), clouds["block 2"])


def test_paired_differences_puts_every_interval_on_its_row():
    tables = {"moons": {"glow": (-0.2, 0.05), "iresnet": (0.1, 0.2)}}
    axes = chapter07.paired_differences(tables, LABELS).axes
    markers = [line for line in axes[0].lines if line.get_marker() == "o"]
    assert [(m.get_xdata()[0], m.get_ydata()[0]) for m in markers] == [(-0.2, 0), (0.1, 1)]
    assert [to_hex(m.get_color()) for m in markers] == [colour("glow"), colour("iresnet")]
    assert [t.get_text() for t in axes[0].get_yticklabels()] == ["Glow", "i-ResNet"]


def test_an_interval_that_is_too_wide_to_draw_is_written():
    tables = {"rings": {"glow": (-66.07, 182.4), "iresnet": (0.1, 0.2)}}
    axis = chapter07.paired_differences(tables, LABELS).axes[0]
    assert [text.get_text() for text in axis.texts] == ["-66 ± 182"] and axis.texts[0].get_position()[1] == 0
    assert [line.get_ydata()[0] for line in axis.lines if line.get_marker() == "o"] == [1]
    assert axis.get_xlim()[0] > -1 and axis.get_ylim() == (1.5, -0.5)


def test_honest_numbers_draws_an_interval_for_each_estimator():
    rows = {"moons": {"training": (0.02, 0.01), "evaluation": (0.0, 0.005)}, "rings": {"evaluation": (0.1, 0.2)}}
    one, two = chapter07.honest_numbers({"i-ResNet": rows, "Residual Flow": rows}).axes
    bars = [c.get_segments()[0][:, 0] for c in two.collections]
    assert np.allclose(bars, [[0.01, 0.03], [-0.005, 0.005], [-0.1, 0.3]])
    assert title(one) == "i-ResNet" and [t.get_text() for t in one.get_yticklabels()] == ["moons", "rings"]


def test_steepness_multiplies_the_certified_bounds():
    left, right = chapter07.steepness({"resflow": torch.tensor([3.0, 1.0, 2.0])}, [0.5, 0.5], LABELS).axes
    assert np.allclose(left.lines[0].get_ydata(), [1, 2, 3])
    assert np.allclose(right.lines[0].get_ydata(), [1, 1.5, 2.25])
    assert np.allclose(right.lines[1].get_ydata(), [1, 0.5, 0.25])


def test_two_budgets_joins_two_numbers_of_a_system():
    (ax,) = chapter07.two_budgets({"glow": (-3.6, -4.0), "resflow": (-4.1, -4.1)}, LABELS, -3.466).axes
    assert [list(line.get_xdata()) for line in ax.lines[:3]] == [[-4.0, -3.6], [-3.6], [-4.0]]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["Glow", "Residual Flow"]
