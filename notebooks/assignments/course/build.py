"""From a source notebook with its solutions: the student's hand-out, and what only instructors may see."""

import copy
import json
import re
import secrets
import shutil
from pathlib import Path

import nbformat
from nbformat import NotebookNode

COURSE = Path(__file__).parent
SOURCES = COURSE.parent
ASSIGNMENTS = ("contractions", "estimators", "training")
TOKEN = "SECRET"  # seeds the hidden tests; every instructor pack has a word of its own in its place


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def meta(cell: NotebookNode) -> NotebookNode:
    """nbgrader's metadata of a cell, with every flag present."""
    return NotebookNode(
        {"grade_id": "", "grade": False, "solution": False, "points": 0} | cell.metadata.get("nbgrader", {})
    )


def personal(notebook: NotebookNode, term: str, student: str) -> NotebookNode:
    """A copy whose first cell names the term and the student: all the constants follow from these two."""
    notebook = copy.deepcopy(notebook)
    (cell,) = (cell for cell in notebook.cells if meta(cell).grade_id == "variant")
    values = {"term": json.dumps(term), "student": json.dumps(student)}
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


def build_handouts(folder: Path, term: str, students: list[str]) -> None:
    """folder/<assignment>.ipynb for all, or folder/<student>/<assignment>.ipynb where the students are known."""
    for name in ASSIGNMENTS:
        for student in students or [""]:
            target = folder / student / f"{name}.ipynb"
            target.parent.mkdir(parents=True, exist_ok=True)
            nbformat.write(handout(read(SOURCES / f"{name}.ipynb"), term, student), target)


def build_pack(folder: Path, term: str) -> None:
    """The private pack: sources in nbgrader's layout with hidden tests of this term, the grader, and the guide.

    A pack that exists keeps its secret word, so that regrading asks the same questions.
    """
    word = folder / "secret.txt"
    folder.mkdir(parents=True, exist_ok=True)
    if not word.exists():
        word.write_text(secrets.token_hex(16))
        word.chmod(0o600)
    (folder / "term.txt").write_text(term)
    for name in ASSIGNMENTS:
        source = personal(read(SOURCES / f"{name}.ipynb"), term, "")
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


def rubric(source: NotebookNode) -> str:
    """The questions that are graded by hand, with model answers, points and rubrics, as one page."""
    parts = ["# Rubric\n"]
    for question, cell in zip(source.cells, source.cells[1:]):
        if meta(cell).grade and cell.cell_type == "markdown":
            answer = "\n".join(line for line in cell.source.splitlines() if not line.startswith("<!--"))
            parts.append(f"## {meta(cell).grade_id} ({meta(cell).points} points)\n\n{question.source}\n\n{answer}\n")
    return "\n".join(parts)
