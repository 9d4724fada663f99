"""From a source notebook with its solutions: the student's hand-out, and what only instructors may see."""

import copy
import json
import re
import secrets
import shutil
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from tables import file_name

COURSE = Path(__file__).parent
SOURCES = COURSE.parent
ASSIGNMENTS = ("contractions", "estimators", "training")
TOKEN = "SECRET"  # seeds the hidden tests; every instructor pack has a word of its own in its place

ALL_OR_NONE = "The points of a question are earned when all of its tests pass."
PARTIAL = "A third of a question's points lie in the tests that you see, in equal parts, and the rest in hidden ones."


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def meta(cell: NotebookNode) -> NotebookNode:
    """nbgrader's metadata of a cell, with every flag present."""
    return NotebookNode(
        {"grade_id": "", "grade": False, "solution": False, "points": 0} | cell.metadata.get("nbgrader", {})
    )


def personal(notebook: NotebookNode, term: str, student: str) -> NotebookNode:
    """A copy whose first cell names the term and the student: all numbers follow from these two."""
    notebook = copy.deepcopy(notebook)
    (cell,) = (cell for cell in notebook.cells if meta(cell).grade_id == "variant")
    values = {name: json.dumps(value, ensure_ascii=False) for name, value in (("term", term), ("student", student))}
    cell.source = re.sub(
        r'^(term|student) = ".*"', lambda m: f"{m[1]} = {values[m[1]]}", cell.source, flags=re.MULTILINE
    )
    return notebook


def handout(source: NotebookNode, term: str, student: str = "") -> NotebookNode:
    """Without solutions, rubrics, hidden tests and outputs, with the tests locked: nbgrader's own preprocessors."""
    from nbgrader import preprocessors as steps

    notebook = personal(source, term, student)
    for step in (steps.LockCells, steps.ClearSolutions, steps.ClearOutput, steps.CheckCellMetadata):
        notebook, _ = step().preprocess(notebook, {})
    for step in (steps.ClearHiddenTests, steps.ComputeChecksums):
        notebook, _ = step().preprocess(notebook, {})
    notebook.metadata.pop("widgets", None)
    return notebook


def build_handouts(folder: Path, term: str, students: list[str], *, partial: bool = False) -> None:
    """folder/<assignment>.ipynb for all, or folder/<student>/<assignment>.ipynb where the students are known.

    With check.py, which students run before they hand in.
    """
    for student in students or [""]:
        place = folder / file_name(student)
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(COURSE / "check.py", place)
        for name in ASSIGNMENTS:
            source = credit(read(SOURCES / f"{name}.ipynb"), partial=partial)
            nbformat.write(handout(source, term, student), place / f"{name}.ipynb")


def credit(source: NotebookNode, *, partial: bool) -> NotebookNode:
    """The sentence that tells students how points are earned, true for the way in which the pack gives them."""
    for cell in source.cells if partial else []:
        cell.source = cell.source.replace(ALL_OR_NONE, PARTIAL)
    return source


def build_pack(folder: Path, term: str, *, partial: bool = False) -> None:
    """The private pack: sources in nbgrader's layout with hidden tests of this term, the grader, and the guide.

    A pack that exists keeps its secret word, so that regrading asks the same questions.
    """
    word = folder / "secret.txt"
    folder.mkdir(parents=True, exist_ok=True)
    if not word.exists():
        word.write_text(secrets.token_hex(16))
        word.chmod(0o600)
    (folder / "term.txt").write_text(term, encoding="utf-8")
    (folder / "partial.txt").unlink(missing_ok=True)
    if partial:
        (folder / "partial.txt").write_text("points for each test that passes")
    for name in ASSIGNMENTS:
        source = credit(personal(read(SOURCES / f"{name}.ipynb"), term, ""), partial=partial)
        for cell in source.cells:
            cell.source = cell.source.replace(TOKEN, word.read_text())
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        target = folder / "source" / name / f"{name}.ipynb"
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(source, target)
        target.with_name("rubric.md").unlink(missing_ok=True)  # where packs had it: nbgrader releases all below source/
        (folder / "rubrics").mkdir(exist_ok=True)
        (folder / "rubrics" / f"{name}.md").write_text(rubric(source))
    shutil.copytree(COURSE, folder / "course", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(COURSE / "nbgrader_config.py", folder)
    shutil.copy(SOURCES / "guide.md", folder)
    shutil.copytree(SOURCES / "typical_errors", folder / "typical_errors", dirs_exist_ok=True)


def asked(source: NotebookNode, answer: NotebookNode) -> str:
    """The question before an answer cell, though a plot may stand between them."""
    before = source.cells[: source.cells.index(answer)]
    return next(cell.source for cell in reversed(before) if cell.cell_type == "markdown" and not meta(cell).grade)


def rubric_of(answer: NotebookNode) -> str:
    return "\n".join(line for line in answer.source.splitlines() if not line.startswith("<!--")).strip()


def rubric(source: NotebookNode) -> str:
    """The questions that are marked by hand, with model answers, points and rubrics, as one page."""
    parts = ["# Rubric\n"]
    for cell in source.cells:
        if meta(cell).grade and cell.cell_type == "markdown":
            title = f"## {meta(cell).grade_id} ({meta(cell).points} points)"
            parts.append(f"{title}\n\n{asked(source, cell)}\n\n{rubric_of(cell)}\n")
    return "\n".join(parts)
