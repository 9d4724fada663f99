"""What every chapter owes its reader: length, figures, asserts, exercises, an opening bet, links.

And what the pages beside the chapters do: a flow in one cell, what goes wrong, two appendices, the outlook.
"""

import re
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
CHAPTERS = sorted(NOTEBOOKS.glob("0[1-9]_*.ipynb"))
START = NOTEBOOKS / "00_start_here.ipynb"
PAGES = [NOTEBOOKS / "interlude_one_cell.ipynb", NOTEBOOKS / "what_goes_wrong.ipynb"]
APPENDICES = [NOTEBOOKS / "04b_fewer_products_less_noise.ipynb", NOTEBOOKS / "06b_induced_norms.ipynb"]
OUTLOOK = NOTEBOOKS / "10_outlook.ipynb"
PAGES += [*APPENDICES, OUTLOOK]
KINDS = ("Routine", "Derive", "Find the bug")
# the claim that a chapter opens with and refutes, and where it says what came out
MISCONCEPTIONS = {
    "01": ("maximise $\\log \\mathcal N(f(x))$", "## 6 · The verdict"),
    "02": ("invertible exactly when $\\mathrm{Lip}(g) < 1$", "**not necessary**"),
    "03": ("off by some constant", "no constant"),
    "04": ("unbiased with small error bars means right", 'unbiased with small error bars" does not mean right'),
    "05": ("Less memory means approximate gradients", "**The answer to (a): the last digit,**"),
    "06": ("Smooth is enough", "Smooth is not enough"),
    "07": ("more expressive always wins", "Expressive layers do not always win"),
    "08": ("So bits/dim is a number, is it not?", "a number with at least three error bars"),
    "09": ("a good density is a good classifier, is it not?", 'So "a good density is a good classifier" fails'),
}
# functions of resflow_lite.book.explorers that stand for an explorer's picture without its controls
STATIC = {
    "mass_through_map": "figures.mass_through_map",
    "memory_against_terms": "memory.bytes_against_terms",
    "cobweb": "cobwebs.cobwebs",
    "truncation": "series.truncation_bias",
    "truncated_against_roulette": "series.truncated_against_roulette",
    "unit_balls": "balls.unit_balls",
    "grid_through_depth": "figures.pushed_grid",
}


@pytest.fixture(params=CHAPTERS, ids=lambda path: path.stem)
def chapter(request):
    return request.param, nbformat.read(request.param, as_version=4).cells


def text(cells, kind="markdown"):
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == kind)


def pictures(cell):
    return sum("image/png" in output.get("data", {}) for output in cell.get("outputs", []))


def test_a_chapter_has_the_length_of_a_chapter(chapter):
    path, cells = chapter
    fields = [cell for cell in cells if cell.source.startswith("predict(")]  # one line each, for the reader's guess
    assert 30 <= len(cells) - len(fields) <= 50
    assert 1500 <= len(text(cells).split()) <= 2500
    assert path.stat().st_size <= 700_000


def test_a_chapter_is_committed_as_it_ran_with_figures_and_asserts(chapter):
    _, cells = chapter
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not any(output.output_type == "error" for cell in code for output in cell.outputs)
    assert sum(map(pictures, code)) >= 6
    assert len(re.findall(r"^\s*assert ", text(cells, "code"), re.MULTILINE)) >= 10
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in cells) == 1


def test_every_figure_is_drawn_in_the_cell_that_asks_for_it(chapter):
    _, cells = chapter
    for cell in cells:
        if cell.cell_type == "code" and "explorers." not in cell.source:  # an explorer is a picture of its own
            assert pictures(cell) == cell.source.count("plt.show()"), cell.source


def test_figures_have_the_numbers_that_the_text_refers_to(chapter):
    path, cells = chapter
    outputs = [o for cell in cells if not cell.source.startswith("explorers.") for o in cell.get("outputs", [])]
    alts = [output.metadata["image/png"]["alt"] for output in outputs if "image/png" in output.get("data", {})]
    number = path.name[:2].lstrip("0")
    assert [alt.split(". ")[0] for alt in alts] == [f"Figure {number}.{i}" for i in range(1, len(alts) + 1)]
    told = re.findall(rf"Figure {number}\.(\d+)", text(cells))
    assert told and all(1 <= int(i) <= len(alts) for i in told)


def test_a_chapter_has_three_to_five_exercises_whose_solutions_are_folded_and_follow_the_stub(chapter):
    _, cells = chapter
    stubs = [i for i, cell in enumerate(cells) if cell.cell_type == "code" and "exercises.check_" in cell.source]
    assert 3 <= len(stubs) <= 5
    for i in stubs:
        planted = "*Find the bug.*" in cells[i - 1].source
        assert planted or re.search(r"^    \.\.\.$|: \.\.\.$", cells[i].source, re.MULTILINE)
        assert "not yet: " in cells[i].outputs[0].text
        after = cells[i + 2 if planted else i + 1]  # between them stands the plot that shows the bug
        assert after.source.startswith("<details><summary>Solution</summary>")
        assert not planted or pictures(cells[i + 1])
    assert re.findall(r"\*\*Exercise (\d)\.\*\*", text(cells)) == [str(n) for n in range(1, len(stubs) + 1)]


@pytest.mark.parametrize("path", [*CHAPTERS, *APPENDICES], ids=lambda path: path.stem)
def test_exercises_are_of_four_kinds(path):
    page = text(nbformat.read(path, as_version=4).cells)
    kinds = re.findall(r"\*\*Exercise \d\.\*\* \*([^*]+)\.\*", page)
    assert len(kinds) == len(re.findall(r"\*\*Exercise \d\.\*\*", page)) and set(kinds) == set(KINDS)
    assert page.count("**Open.**") == 1


def test_a_chapter_opens_with_its_misconception_and_comes_back_to_it(chapter):
    path, cells = chapter
    claim, verdict = MISCONCEPTIONS[path.name[:2]]
    opening, *rest = [cell for cell in cells if cell.cell_type == "markdown"][1:]
    assert opening.source.startswith("> ### Predict before you run") and claim in opening.source
    assert verdict in text(rest)
    assert text(rest).count("> **Predict") >= 2


def test_an_explorer_has_a_static_figure_before_it(chapter):
    _, cells = chapter
    for i, cell in enumerate(cells):
        for name in re.findall(r"^explorers\.(\w+)\(", cell.source if cell.cell_type == "code" else "", re.MULTILINE):
            before = [c for c in cells[:i] if c.cell_type == "code" and f"{STATIC[name]}(" in c.source]
            assert before and pictures(before[-1])
            assert "nbval-ignore-output" in cell.metadata.tags


def test_a_chapter_ends_with_what_to_take_home_and_links_to_both_neighbours(chapter):
    path, cells = chapter
    last = cells[-1].source
    assert "## What to take home" in last
    order = [START, *CHAPTERS, OUTLOOK]
    place = order.index(path)
    ending = last.split("## What to take home")[1]
    for neighbour in (order[place - 1], order[place + 1]):
        assert f"({neighbour.name})" in ending


@pytest.mark.parametrize("path", [*CHAPTERS, *PAGES], ids=lambda path: path.stem)
def test_the_head_tells_the_time_that_words_and_lines_take(path):
    cells = nbformat.read(path, as_version=4).cells
    lines = [line for line in text(cells, "code").splitlines() if line.strip()]
    told = int(re.search(r"\*\*Time\.\*\* (\d+) minutes for the words and the code", cells[0].source)[1])
    assert abs(told - (len(text(cells).split()) / 200 + len(lines) / 30)) <= 1
    assert max(map(len, lines)) <= 88  # what a screen shows


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_beside_the_chapters_is_committed_as_it_ran_with_asserts(path):
    cells = nbformat.read(path, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not any(output.output_type == "error" for cell in code for output in cell.outputs)
    assert len(re.findall(r"^\s*assert ", text(cells, "code"), re.MULTILINE)) >= 6
    assert len(text(cells).split()) <= 2500 and path.stat().st_size <= 700_000
    for cell in code:
        assert pictures(cell) == cell.source.count("plt.show()"), cell.source


@pytest.mark.parametrize("path", [START, *CHAPTERS, *PAGES], ids=lambda path: path.stem)
def test_links_lead_to_files(path):
    targets = re.findall(r"\]\(([^)#]+)\)", text(nbformat.read(path, as_version=4).cells))
    local = [target for target in targets if not target.startswith("http")]
    assert local and [target for target in local if not (NOTEBOOKS / target).exists()] == []


def test_the_first_page_lists_every_chapter_and_its_index_names_terms_that_the_chapter_uses():
    page = text(nbformat.read(START, as_version=4).cells)
    assert all(f"({path.name})" in page for path in [*CHAPTERS, *PAGES])
    assert all(f"## {part}\n" in page for part in ("Self-test", "Notation", "Index"))
    rows = [row.split("|") for row in page.split("## Index")[1].splitlines() if row.startswith("| ")][1:]
    entries = [(term.strip(), where) for row in rows for term, where in ((row[1], row[2]), (row[4], row[5]))]
    assert len(entries) > 30
    paths = [path for path in NOTEBOOKS.glob("[01][0-9]*_*.ipynb") if path != START]
    sources = {p.name.split("_")[0].lstrip("0"): text(nbformat.read(p, as_version=4).cells).lower() for p in paths}
    for term, where in entries:
        words = [part.strip().lower() for part in term.split(",")]
        for number in re.findall(r"\d+b?", where):
            assert any(word.split()[-1].removesuffix("s") in sources[number] for word in words), (term, number)
