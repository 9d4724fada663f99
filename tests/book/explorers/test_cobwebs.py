"""Cobwebs and preimages show the right numbers."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
from matplotlib.colors import to_hex

from resflow_lite.book.explorers import cobwebs
from resflow_lite.book.figures import style


def title(ax):
    return ax.get_title(loc="left")


def test_preimages_finds_all_solutions():
    assert cobwebs.preimages(lambda x: 3 * x, 2.0) == pytest.approx([0.5])
    roots = cobwebs.preimages(lambda x: -1.5 * np.tanh(x), 0.0)
    assert roots == pytest.approx([-roots[2], 0, roots[2]], abs=1e-12)
    assert roots[2] == pytest.approx(1.5 * np.tanh(roots[2]))


def test_a_cobweb_climbs_from_the_start_to_the_solution():
    web, curve = cobwebs.cobweb(lambda x: 0.5 * x, y=1.5, start=-2.0, steps=30, title="g").axes
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
    axes = cobwebs.cobwebs(cases, span=2.5).axes
    assert all(ax.get_xlim() == ax.get_ylim() == (-2.5, 2.5) for ax in axes)
    assert [title(ax).splitlines()[0] for ax in axes[:3]] == ["a", "b", "c"]
    assert ["diverges" in title(ax) for ax in axes[:3]] == [False, True, False]
    assert [title(ax)[-11:].strip() for ax in axes[3:]] == ["1 solution", "1 solution", "3 solutions"]
