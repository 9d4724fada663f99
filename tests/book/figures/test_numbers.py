"""Numbers of figures: in the order in which they are shown, the same when a cell runs again, none for a reader's."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import pytest

from resflow_lite.book.figures import numbers
from resflow_lite.book.figures.panels import diagonal


@pytest.fixture
def run():
    """Shows figures as a cell does, and says how they were called."""
    shell = SimpleNamespace(execution_count=0, user_ns={"In": [""]})
    numbers.number_figures("4b")

    def cell(source, *figures):
        shell.execution_count += 1
        shell.user_ns["In"].append(source)
        return [numbers.write_number(figure or diagonal([0, 1], [0, 1], "x", "y"), shell) for figure in figures]

    yield cell
    numbers.number_figures("")


def test_figures_are_numbered_in_the_order_in_which_they_are_shown(run):
    assert run("first", None) == ["Figure 4b.1. "]
    assert run("second", None, None) == ["Figure 4b.2. ", "Figure 4b.3. "]


def test_a_cell_that_runs_again_keeps_its_numbers(run):
    run("first", None, None)
    run("second", None)
    assert run("first", None, None) == ["Figure 4b.1. ", "Figure 4b.2. "]
    assert run("third", None) == ["Figure 4b.4. "]


def test_a_figure_of_the_reader_has_no_number_and_takes_none(run):
    own, _ = plt.subplots()
    assert run("mine", own) == [""] and not own.texts
    assert run("first", None) == ["Figure 4b.1. "]


def test_without_a_chapter_nothing_is_written(run):
    numbers.number_figures("")
    assert run("first", None) == [""]


def test_the_number_stands_below_the_figure(run):
    figure = diagonal([0, 1], [0, 1], "x", "y")
    run("first", figure)
    assert [text.get_text() for text in figure.texts] == ["Figure 4b.1"] and figure.texts[0].get_position()[1] < 0
