"""The sheet of formulas: names that exist, chapters that exist, one page."""

import re
from pathlib import Path

import nbformat
import pytest

import resflow_lite as rf

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.fixture(scope="module")
def cells():
    return nbformat.read(NOTEBOOKS / "formulas.ipynb", as_version=4).cells


def test_every_name_on_the_sheet_is_one_of_the_package(cells):
    names = re.findall(r"`(rf|flow)\.(\w+)`", cells[0].source)
    assert len(names) > 12
    assert all(hasattr({"rf": rf, "flow": rf.HybridFlow}[of], name) for of, name in names)


def test_every_formula_names_its_chapter_and_fits_one_printed_page(cells):
    rows = [row for row in cells[0].source.splitlines() if re.match(r"\| \[?\d", row)]
    assert 14 <= len(rows) <= 18 and max(map(len, rows)) < 330
    links = re.findall(r"\]\((\w+\.ipynb)\)", cells[0].source)
    assert len(links) > 8 and all((NOTEBOOKS / link).exists() for link in links)


def test_the_formulas_were_checked_when_the_sheet_was_made(cells):
    assert cells[1].source.count("assert ") >= 15
    assert "all of them hold" in cells[1].outputs[-1].text
    assert max(map(len, cells[1].source.splitlines())) <= 88
