"""Induced norms and their unit balls."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest

import resflow_lite as rf
from resflow_lite.book.explorers import balls

A = balls.stretch(1.6, 0.5, 30, 20)


def title(ax):
    return ax.get_title(loc="left")


@pytest.mark.parametrize("q", [1, 1.5, 2, np.inf])
def test_induced_norms_agree_with_the_closed_forms(q):
    assert balls.largest_image(A, 1, q)[0] == pytest.approx(np.linalg.norm(A, q, axis=0).max(), rel=1e-12)
    dual = {1: np.inf, 1.5: 3, 2: 2, np.inf: 1}[q]
    assert balls.largest_image(A, q, np.inf)[0] == pytest.approx(np.linalg.norm(A, dual, axis=1).max(), rel=1e-12)
    norm, v = balls.largest_image(A, 2, 2)
    assert norm == pytest.approx(1.6, rel=1e-12)
    assert (np.linalg.norm(v), np.linalg.norm(A @ v)) == pytest.approx((1, 1.6))


def test_induced_norms_refuse_what_is_none():
    with pytest.raises(rf.SettingsError, match="shape"):
        balls.largest_image(np.eye(3), 2, 2)
    with pytest.raises(rf.SettingsError, match="p=0.5"):
        balls.largest_image(A, 0.5, 2)


def test_the_image_touches_the_smallest_ball_that_holds_it():
    ball, image = balls.unit_balls(A, 3, 1.5).axes
    norm = balls.largest_image(A, 3, 1.5)[0]
    around, curve = (np.array(line.get_data()) for line in image.lines[:2])
    assert np.allclose(np.linalg.norm(around, 1.5, axis=0), norm)
    lengths = np.linalg.norm(curve, 1.5, axis=0)
    assert norm * (1 - 1e-4) < lengths.max() <= norm * (1 + 1e-12)
    assert float(title(image).split()[-1]) == pytest.approx(norm, abs=5.1e-4)  # three digits
