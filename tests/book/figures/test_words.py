"""Alternative texts: what a figure shows, in numbers, and where a notebook, a page and the site find it."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest

from resflow_lite.book.figures import style
from resflow_lite.book.figures.words import LONGEST, describe
from resflow_lite.lab.page import write_page


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_lines_are_told_by_their_ends_and_what_lies_beyond_them():
    _, axes = plt.subplots()
    axes.plot([1, 2, 3], [4.0, -1.0, 2.0], label="roulette, $E[c_k]$")
    axes.plot([1, 2], [0.0, 1.0])
    axes.axhline(2.5, label="truth")
    axes.set(title="Error", xlabel="draws", ylabel="nats", xlim=(1, 100), xscale="log", ylim=(-2, 5))
    told = describe(axes.figure)
    assert told.startswith("Error. X, draws, from 1 to 100 (logarithmic); y, nats, from -2 to 5.")
    assert "Roulette, E[c_k] from 4 to 2, between -1 and 4; truth at 2.5; 1 line." in told


def test_bars_are_told_by_name_and_panels_are_counted():
    _, axes = plt.subplots(1, 2)
    axes[0].bar(["ELU", "LipSwish"], [2.5, 1.25])
    axes[1].imshow(np.array([[0.0, 3.0], [1.0, np.nan]]))
    told = describe(axes[0].figure)
    assert "bars, ELU 2.5, LipSwish 1.25" in told.replace("Bars", "bars")
    assert "Panel 2: An image of 2 by 2, values 0 to 3." in told


def test_a_figure_of_many_things_stays_short_enough_to_be_listened_to():
    figure, axes = plt.subplots(5, 5)
    for a in axes.flat:
        for i in range(20):
            a.plot([0, i], label=f"a line with a long name and the number {i}")
    assert len(describe(figure)) <= LONGEST


def test_the_label_is_the_first_sentence_of_the_function_that_draws():
    @style.styled
    def draw():
        """Mass that moves 1, 2, ... steps
        to the right. Arguments are not read aloud."""
        figure, axes = plt.subplots()
        axes.scatter([0, 1], [0, 1], label="data")
        return figure

    assert describe(draw()).startswith("Mass that moves 1, 2, ... steps to the right. X from")
    assert "2 points, data" in describe(draw())


def test_a_figure_with_nothing_in_it_says_so():
    figure = plt.figure()
    assert describe(figure) == "A figure without lines, bars, points or images."
    figure.suptitle("Later")
    assert describe(figure) == "Later. A figure without lines, bars, points or images."
    figure.add_subplot().axis("off")
    assert describe(figure).endswith("images.")


@pytest.fixture(scope="module")
def executed():
    nbclient = pytest.importorskip("nbclient")
    source = "import matplotlib.pyplot as plt\nfrom resflow_lite.book.figures import style\n"
    source += "plt.plot([1, 2], label='mass')\nplt.show()\nplt.figure().add_subplot().bar(['a'], [3])\nplt.gcf()\n"
    source += "display(plt.figure(label='without axes'))"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    nbclient.NotebookClient(notebook).execute()
    return notebook


def test_a_notebook_stores_the_words_with_the_figure(executed):
    pictures = [o for o in executed.cells[0].outputs if "image/png" in o.get("data", {})]
    assert len(pictures) >= 2
    assert "mass from 1 to 2" in pictures[0].metadata["image/png"]["alt"].replace("Mass", "mass")
    assert all("alt" in picture.metadata["image/png"] for picture in pictures)


def test_a_figure_without_axes_has_no_picture_and_no_words_for_one(executed):
    texts = [o for o in executed.cells[0].outputs if "0 Axes" in o.get("data", {}).get("text/plain", "")]
    assert texts and not any("image/png" in {**o.data, **o.metadata} for o in texts)
    texts[0].metadata["image/png"] = {"alt": "of a picture that is not there"}  # as an earlier version stored it


def test_the_page_of_a_run_has_the_words_and_needs_no_network(executed, tmp_path):
    executed.cells.append(nbformat.v4.new_markdown_cell("With $x < y$ and `$HOME`:\n\n$$\\sum_k \\frac{1}{k}$$"))
    nbformat.write(executed, tmp_path / "run.ipynb")
    write_page(tmp_path / "run.ipynb", "run", tmp_path)
    page = (tmp_path / "run.html").read_text(encoding="utf-8")
    assert "ass from 1 to 2" in page and "No description has been provided" not in page
    assert page.count("<math") == 2 and "<mfrac>" in page and "<code>$HOME</code>" in page
    assert not re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=.https?:", page)


def test_every_figure_of_every_stored_notebook_has_words():
    silent = []
    for path in sorted((Path(__file__).parents[3] / "notebooks").rglob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            figures = [output for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
            silent += [path.stem for figure in figures if not figure.metadata.get("image/png", {}).get("alt")]
    assert silent == []
