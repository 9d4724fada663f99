"""The explorers' figures show the right numbers, and every control changes the picture."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

import resflow_lite as rf
from resflow_lite.book.explorers import balls as norms
from resflow_lite.book.explorers import cobweb as contractions
from resflow_lite.book.explorers import series
from resflow_lite.book.explorers import widgets as explorers
from resflow_lite.book.figures import style
from resflow_lite.lab.checkpoints import load_flow

ROOT = Path(__file__).parents[3]


def title(ax):
    return ax.get_title(loc="left")


def texts(artist):
    return " ".join(text.get_text() for text in artist.texts)


def test_preimages_finds_all_solutions():
    assert contractions.preimages(lambda x: 3 * x, 2.0) == pytest.approx([0.5])
    roots = contractions.preimages(lambda x: -1.5 * np.tanh(x), 0.0)
    assert roots == pytest.approx([-roots[2], 0, roots[2]], abs=1e-12)
    assert roots[2] == pytest.approx(1.5 * np.tanh(roots[2]))


def test_a_cobweb_climbs_from_the_start_to_the_solution():
    web, curve = contractions.cobweb(lambda x: 0.5 * x, y=1.5, start=-2.0, steps=30, title="g").axes
    path = next(line for line in web.lines if to_hex(line.get_color()).upper() == style.AMBER)
    x, y = path.get_data()
    assert (x[0], x[1], y[1]) == (-2.0, -2.0, 2.5)
    assert (x[-1], y[-1]) == pytest.approx((1, 1), abs=1e-8)
    # every corner lies on the diagonal or on the curve y - g(x)
    assert np.allclose(np.minimum(abs(y - x), abs(y - (1.5 - 0.5 * x)))[1:], 0)
    assert "30 steps" in title(web) and title(curve) == "f(x) = 1.5 has 1 solution"


def test_cobwebs_tells_convergence_from_divergence_and_one_solution_from_three():
    cases = {
        "a": (lambda x: 0.5 * x, 2.0, -4.0),
        "b": (lambda x: 3 * x, 2.0, 0.6),
        "c": (lambda x: -1.5 * np.tanh(x), 0.0, 0.3),
    }
    axes = contractions.cobwebs(cases, span=2.5).axes
    assert all(ax.get_xlim() == ax.get_ylim() == (-2.5, 2.5) for ax in axes)
    assert [title(ax).splitlines()[0] for ax in axes[:3]] == ["a", "b", "c"]
    assert ["diverges" in title(ax) for ax in axes[:3]] == [False, True, False]
    assert [title(ax)[-11:].strip() for ax in axes[3:]] == ["1 solution", "1 solution", "3 solutions"]


@pytest.mark.parametrize(
    ("r", "angle", "n_terms", "bias"),
    [(0.5, 180, 1, 0.193), (0.9, 180, 5, 0.472), (0.9, 180, 10, 0.184), (0.98, 0, 5, 0.081), (0.98, 90, 5, -0.087)],
)
def test_truncation_bias_is_the_measured_one(r, angle, n_terms, bias):
    _, sums, size = series.truncation_bias(r, angle, n_terms).axes
    truth = np.linalg.slogdet(np.eye(2) + series.rotation(r, angle))[1] / 2
    (x,), (y,) = sums.lines[-1].get_data()
    assert x == n_terms and y - truth == pytest.approx(bias, abs=6e-4)
    assert float(title(size).split()[-1].replace("−", "-")) == pytest.approx(bias, abs=6e-4)
    bound, actual = (line.get_ydata() for line in size.lines[:2])
    assert (actual <= bound * (1 + 1e-9)).all()


@pytest.mark.parametrize(("settings", "named"), [(dict(r=1.0), "r=1.0"), (dict(n_terms=31), "n_terms=31")])
def test_truncation_bias_refuses_what_has_no_picture(settings, named):
    with pytest.raises(rf.SettingsError, match=named):
        series.truncation_bias(**settings)


def test_truncated_against_roulette_shows_the_race():
    race = series.race(series.rotation(0.8, 180))
    figure = series.truncated_against_roulette(race)
    left, one, single = figure.axes
    assert len(left.lines) == 32  # 30 runs, their median, truncation
    assert np.allclose(left.lines[-1].get_ydata(), race.bias)
    assert to_hex(left.lines[-1].get_color()).upper() == style.TRUNCATED
    assert np.allclose(left.lines[-2].get_ydata(), np.median(abs(race.roulette_means - race.truth), 0))
    assert "5 products: bias +0.151" in texts(left)
    assert np.allclose(one.lines[0].get_ydata(), race.roulette_means[0])
    assert f"{race.largest_weight:,.0f}" in title(single)
    assert "94% of" in texts(figure) and "finite: ρ² = 0.64 < 0.75" in texts(figure)


def test_an_infinite_variance_is_announced():
    race = series.race(series.rotation(0.8, 180), rf.Roulette(rf.Poisson(2.0), 2))
    assert "INFINITE: ρ² = 0.64 ≥ 0" in texts(series.truncated_against_roulette(race))


A = norms.stretch(1.6, 0.5, 30, 20)


@pytest.mark.parametrize("q", [1, 1.5, 2, np.inf])
def test_induced_norms_agree_with_the_closed_forms(q):
    assert norms.largest_image(A, 1, q)[0] == pytest.approx(np.linalg.norm(A, q, axis=0).max(), rel=1e-12)
    dual = {1: np.inf, 1.5: 3, 2: 2, np.inf: 1}[q]
    assert norms.largest_image(A, q, np.inf)[0] == pytest.approx(np.linalg.norm(A, dual, axis=1).max(), rel=1e-12)
    norm, v = norms.largest_image(A, 2, 2)
    assert norm == pytest.approx(1.6, rel=1e-12)
    assert (np.linalg.norm(v), np.linalg.norm(A @ v)) == pytest.approx((1, 1.6))


def test_induced_norms_refuse_what_is_none():
    with pytest.raises(rf.SettingsError, match="shape"):
        norms.largest_image(np.eye(3), 2, 2)
    with pytest.raises(rf.SettingsError, match="p=0.5"):
        norms.largest_image(A, 0.5, 2)


def test_the_image_touches_the_smallest_ball_that_holds_it():
    ball, image = norms.unit_balls(A, 3, 1.5).axes
    norm = norms.largest_image(A, 3, 1.5)[0]
    around, curve = (np.array(line.get_data()) for line in image.lines[:2])
    assert np.allclose(np.linalg.norm(around, 1.5, axis=0), norm)
    lengths = np.linalg.norm(curve, 1.5, axis=0)
    assert norm * (1 - 1e-4) < lengths.max() <= norm * (1 + 1e-12)
    assert f"{norm:.3f}" in title(image)


@pytest.fixture
def controls_of():
    """The controls by name and the picture of an explorer."""

    def taken_apart(explorer):
        row, picture = explorer.children
        return {control.description: control for control in row.children}, picture

    return taken_apart


def move(control):
    """Another value, as a reader would choose it."""
    if hasattr(control, "index"):
        control.index = 1 if control.index == 0 else 0
    elif isinstance(control.value, bool):
        control.value = not control.value
    else:
        control.value = control.max if control.value < control.max else control.min


@pytest.mark.parametrize("name", explorers.__all__)
def test_every_control_changes_the_picture(name, controls_of):
    controls, picture = controls_of(getattr(explorers, name)())
    assert bytes(picture.value[:4]) == b"\x89PNG"
    for label, control in controls.items():
        if control.disabled:
            continue
        before = picture.value
        move(control)
        assert picture.value != before, label
    assert plt.get_fignums() == []


def test_a_control_that_does_nothing_is_greyed_out(controls_of):
    controls, picture = controls_of(explorers.truncated_against_roulette())
    for law, enabled in (("Poisson", {"rate"}), ("Matched", set()), ("Geometric", {"p"})):
        controls["law"].value = law
        assert {name for name in ("p", "rate") if not controls[name].disabled} == enabled
    assert controls["truncated at"].disabled
    controls["equal cost"].value = False
    assert not controls["truncated at"].disabled
    before = picture.value
    controls["truncated at"].value = 20
    assert picture.value != before


def test_the_race_takes_the_blocks_of_a_checkpoint(controls_of):
    flow, _ = load_flow(ROOT / "data" / "models" / "digits.safetensors")
    blocks = series.block_jacobians(flow.double(), torch.rand(1, 1, 8, 8))
    controls, picture = controls_of(explorers.truncated_against_roulette(blocks))
    assert list(controls["block"].options) == list(blocks) and len(blocks) == 10
    before = picture.value
    controls["block"].value = list(blocks)[3]
    assert picture.value != before


def test_the_race_takes_matrices_for_blocks(controls_of):
    source = {"one": np.diag([-0.8, -0.7, -0.6]), "two": np.diag([0.3, 0.2, 0.1])}
    controls, picture = controls_of(explorers.truncated_against_roulette(source))
    assert set(controls) >= {"block", "probe noise", "law"} and "r" not in controls
    for name in ("probe noise", "block"):
        before = picture.value
        move(controls[name])
        assert picture.value != before, name
