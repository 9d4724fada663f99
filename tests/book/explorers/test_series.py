"""Truncation and roulette, as figures, show the right numbers."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
from matplotlib.colors import to_hex

import resflow_lite as rf
from resflow_lite.book.explorers import series
from resflow_lite.book.figures import style


def title(ax):
    return ax.get_title(loc="left")


def texts(artist):
    return " ".join(text.get_text() for text in artist.texts)


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
    largest = title(single).rpartition(" ")[2].replace(",", "")
    assert float(largest) == pytest.approx(race.largest_term, rel=5e-3)
    assert f"{race.coverage:.0%} of" in texts(figure) and "finite: ρ² = 0.64 < 0.75" in texts(figure)


def test_an_infinite_variance_is_announced():
    race = series.race(series.rotation(0.8, 180), rf.Roulette(rf.Poisson(2.0), 2))
    assert "INFINITE: ρ² = 0.64 ≥ 0" in texts(series.truncated_against_roulette(race))
