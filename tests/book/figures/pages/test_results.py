"""What the figures of the ledger draw: the numbers in them, not the pixels."""

import matplotlib

matplotlib.use("Agg")

import pytest

from resflow_lite.book.figures.pages import results
from resflow_lite.lab.report import Entry, scaled_down


@pytest.fixture
def found(made_up_entry):
    scores = {
        ("systems", "glow", 38400): (2.0, 2.2),
        ("systems", "resflow", 38400): (1.9, 2.0),
        ("", "", 76800): (1.8,),
    }
    return scaled_down(
        [
            Entry(made_up_entry(seed=seed, bits_per_dim=bits, images_seen=images), sweep, label)
            for (sweep, label, images), values in scores.items()
            for seed, bits in enumerate(values)
        ],
        "laptop",
    )


def test_points_stand_at_the_images_seen_and_lines_at_what_is_reported(found):
    reported = {"A": dict(digits=1.5, mnist=9.0), "B": dict(digits=1.6), "C": dict(mnist=8.0)}
    (ax,) = results.bits_against_images(found, reported).axes
    assert ax.get_xscale() == "log" and ax.get_title(loc="left") == "digits 8x8"
    points = {round(y, 9): x for container in ax.containers for x, y in zip(*container[0].get_data())}
    assert points == {2.1: 38400, 1.95: 38400, 1.8: 76800}
    dashed = [line.get_ydata()[0] for line in ax.lines if line.get_linestyle() == "--"]
    assert sorted(dashed) == [1.5, 1.6]
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert set(names) == {"systems", "single runs", "reported: 1.50 to 1.60"}


def test_error_bars_are_two_standard_errors(found):
    (ax,) = results.side_by_side(found["systems", "digits", "bits_per_dim"], "bits_per_dim", "bits/dim").axes
    assert [text.get_text() for text in ax.get_yticklabels()] == ["Residual Flow", "Glow"]
    ends = [container[2][0].get_segments()[0][:, 0] for container in ax.containers]
    assert list(ends[0]) == pytest.approx([1.95 - 0.1, 1.95 + 0.1])
    assert list(ends[1]) == pytest.approx([2.1 - 0.2, 2.1 + 0.2])
    dots = sorted(x for line in ax.lines for x in line.get_xdata() if line.get_markersize() == 4)
    assert dots == pytest.approx([1.9, 2.0, 2.0, 2.2])
