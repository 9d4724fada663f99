"""What the tests of the course share: its modules, a pack, and hand-ins of all kinds."""

import csv
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest

ASSIGNMENTS = Path(__file__).parents[3] / "notebooks" / "assignments"
TERM = "test"


def pytest_collection_modifyitems(items):
    linux = pytest.mark.skipif(sys.platform != "linux", reason="students' code is confined by the Linux kernel")
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(linux)


@pytest.fixture(scope="session")
def course():
    """The course's command as a function, with its modules as attributes of `modules`."""
    pytest.importorskip("nbgrader", reason="nbgrader is not installed: pip install -e .[course]")
    folder = str(ASSIGNMENTS / "course")
    before = set(sys.modules)
    sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location("course_main", ASSIGNMENTS / "course" / "__main__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(folder)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(folder):
            del sys.modules[name]


@pytest.fixture(scope="session")
def pack(course, tmp_path_factory):
    """A pack of the term, for tests that only read it."""
    out = tmp_path_factory.mktemp("pack")
    course.main(["pack", "--term", TERM, "--out", str(out)])
    return out / TERM / "instructor-pack"


@pytest.fixture(scope="session")
def solved(pack):
    """solved(name): the solutions of an assignment as a notebook that may be changed."""
    return lambda name="estimators": nbformat.read(pack / "source" / name / f"{name}.ipynb", 4)


@pytest.fixture(scope="session")
def kit():
    """Small tools: see the functions below."""
    return SimpleNamespace(
        assignments=ASSIGNMENTS,
        term=TERM,
        kind=kind,
        by_id=by_id,
        described_errors=described_errors,
        errors=lambda name: {g: [code for _, code in found] for g, found in described_errors(name).items()},
        submit=submit,
        table=table,
        command=command,
        has_bwrap=has_bwrap(),
    )


def kind(cell):
    return {"grade": False, "solution": False} | cell.metadata.get("nbgrader", {})


def by_id(notebook):
    return {kind(cell)["grade_id"]: cell for cell in notebook.cells if "grade_id" in kind(cell)}


def described_errors(name):
    """{grade_id: [(description, code), ...]} from the list of typical errors that instructors read."""
    sections = re.split(r"^## (\S+)$", (ASSIGNMENTS / "typical_errors" / f"{name}.md").read_text(), flags=re.M)[1:]
    return {
        grade_id: re.findall(r"^(\*\*.*?)\n\n```python\n(.*?)```", text, re.DOTALL | re.MULTILINE)
        for grade_id, text in zip(sections[::2], sections[1::2])
    }


def submit(folder, student, name, notebook):
    """folder/student/name.ipynb; the notebook, or any bytes. Returns the path."""
    path = folder / student / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = notebook if isinstance(notebook, bytes) else json.dumps(notebook).encode()
    path.write_bytes(content)
    return path


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def command(*words, **options):
    """The course's command in a process of its own."""
    words = [sys.executable, str(ASSIGNMENTS / "course"), *map(str, words)]
    return subprocess.run(words, capture_output=True, text=True, **options)


def has_bwrap():
    return (
        bool(shutil.which("bwrap"))
        and not subprocess.run(
            ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"], capture_output=True
        ).returncode
    )
