"""The map of the book: read from the heads of its pages, drawn without what follows, stored as it is."""

import json
from pathlib import Path

import nbformat
import pytest

from resflow_lite.book.figures.pages import needs
from resflow_lite.book.figures.words import describe

NOTEBOOKS = Path(__file__).parents[4] / "notebooks"


@pytest.fixture
def book(tmp_path):
    heads = {
        "01_one": "# 1 · One\n\n**You need** a little calculus.",
        "02_two": "# 2 · Two\n\n**You need** chapter 1's maps. What chapter 4 teaches is not asked for.",
        "02b_beside": "# 2b · Beside\n\n**You need** section 3 of chapter 2.",
        "03_three": "# 3 · Three\n\n**You need** chapters 1 to 2 and chapter 2b.",
        "last": "# Last\n\n**You need** chapters 1 and 3.",
        "formulas": "# No head of a chapter",
    }
    for name, head in heads.items():
        (tmp_path / f"{name}.ipynb").write_text(json.dumps({"cells": [{"source": head.splitlines(keepends=True)}]}))
    return needs.prerequisites(tmp_path)


def test_what_a_page_needs_is_what_its_head_says(book):
    one, two, beside, three = "1 · One", "2 · Two", "2b · Beside", "3 · Three"
    assert book == {one: set(), two: {one}, beside: {two}, three: {one, two, beside}, "Last": {one, three}}


def test_an_arrow_that_follows_from_others_is_left_out(book):
    arrows = needs.direct(book)
    assert arrows["3 · Three"] == {"2b · Beside"} and arrows["Last"] == {"3 · Three"}


def test_an_arrow_leads_from_left_to_right(book):
    (ax,) = needs.map_of_the_book(book).axes
    arrows = [text for text in ax.texts if getattr(text, "arrow_patch", None)]
    assert len(arrows) == sum(map(len, needs.direct(book).values()))
    assert all(arrow.xyann[0] < arrow.xy[0] for arrow in arrows)


def test_no_page_of_the_book_needs_a_later_one():
    found = needs.prerequisites(NOTEBOOKS)
    chapters = [title for title in found if title[0].isdigit()]
    assert len(chapters) >= 12
    for title in chapters:
        number = float(title.split(" ")[0].replace("b", ".5"))
        assert all(float(a.split(" ")[0].replace("b", ".5")) < number for a in found[title]), title


def test_the_map_on_the_first_page_is_that_of_the_heads():
    cells = nbformat.read(NOTEBOOKS / "00_start_here.ipynb", as_version=4).cells
    (stored,) = [o for cell in cells for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
    told = describe(needs.map_of_the_book(needs.prerequisites(NOTEBOOKS)))
    assert stored.metadata["image/png"]["alt"] == told


def test_a_folder_without_chapters_leaves_a_sentence_in_place_of_the_map(tmp_path):
    figure = needs.map_of_the_book(needs.prerequisites(tmp_path))
    (text,) = figure.axes[0].texts  # in axes, or Jupyter shows nothing
    assert describe(figure) == text.get_text() and text.get_text().startswith("No chapter lies in this folder")
