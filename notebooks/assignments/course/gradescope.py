"""An autograder for Gradescope, which runs it in a container that holds one submission: as a zip, or by Docker."""

import json
import zipfile
from importlib.metadata import version
from pathlib import Path

from marks import Mark

# Gradescope's default image is Ubuntu 22.04 with Python 3.10, for which newer NumPy and the like do not exist.
PYTHON_3_10 = {"numpy": "2.2.6", "matplotlib": "3.10.8", "scikit-learn": "1.7.2"}
PACKAGES = ("torch", "numpy", "matplotlib", "scikit-learn", "nbformat", "psutil")
SETUP = """#!/usr/bin/env bash
set -e
apt-get update && apt-get install -y python3 python3-pip python3-venv bubblewrap
python3 -m venv /opt/grader
cd /autograder/source
/opt/grader/bin/pip install --extra-index-url https://download.pytorch.org/whl/cpu -r requirements.txt
chmod -R go-rwx /autograder/source
"""
RUN = """#!/usr/bin/env bash
# Whatever happens, Gradescope gets a results.json.
mkdir -p /autograder/results
cat > /autograder/results/results.json <<'END'
{failure}
END
cd /autograder
OMP_NUM_THREADS=1 /opt/grader/bin/python source/course gradescope {assignment} /autograder
"""
DOCKER = """FROM gradescope/autograder-base:ubuntu-22.04
COPY . /autograder/source
RUN cp /autograder/source/run_autograder /autograder/ && bash /autograder/source/setup.sh
"""
FAILED = "The grader itself failed, which is not your fault: tell your instructor. Nothing was graded."


def requirements() -> str:
    """The tested versions, and for Python 3.10 the last ones that exist there."""
    lines = []
    for name in PACKAGES:
        tested = version(name).split("+")[0]
        if old := PYTHON_3_10.get(name):
            lines += [f'{name}=={tested}; python_version >= "3.11"', f'{name}=={old}; python_version < "3.11"']
        else:
            lines.append(f"{name}=={tested}")
    return "\n".join(lines) + "\n"


def build_zip(pack: Path, assignment: str) -> Path:
    """pack/gradescope-<assignment>.zip: setup.sh, run_autograder, a Dockerfile, the grader and the pack's source."""
    target = pack / f"gradescope-{assignment}.zip"
    run = RUN.format(assignment=assignment, failure=json.dumps(failed(FAILED)))
    texts = {"setup.sh": SETUP, "run_autograder": run, "Dockerfile": DOCKER, "requirements.txt": requirements()}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, text in texts.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o755 << 16
            bundle.writestr(info, text)
        for path in sorted((pack / "course").glob("*.py")):
            bundle.write(path, f"course/{path.name}")
        bundle.write(pack / "source" / assignment / f"{assignment}.ipynb", f"source/{assignment}/{assignment}.ipynb")
        for path in (pack / "term.txt", pack / "partial.txt"):
            if path.exists():
                bundle.write(path, path.name)
    return target


def submitter(metadata: Path) -> str:
    """The user name: what stands before the @ of the first submitter's address."""
    return json.loads(metadata.read_text())["users"][0]["email"].split("@")[0]


def results(marks: list[Mark], notes: list[str]) -> dict:
    """What Gradescope reads: the visible tests at once, points and hidden tests after the due date.

    Questions that a person marks get their points in Gradescope's own rubric.
    """
    tests = []
    for m in marks:
        if not m.by_hand:
            seen = {"name": f"{m.grade_id}, tests in the hand-out", "score": 0, "max_score": 0, "visibility": "visible"}
            tests.append(seen | {"output": m.visible or "passed", "status": "failed" if m.visible else "passed"})
            points = {"name": m.grade_id, "score": m.score, "max_score": m.points, "visibility": "after_due_date"}
            tests.append(points | {"output": m.message or "all tests passed"})
    waiting = ", ".join(m.grade_id for m in marks if m.by_hand) or "nothing"
    return {"tests": tests, "output": "\n".join([f"marked by a person: {waiting}", *notes]), "visibility": "visible"}


def failed(why: str) -> dict:
    return {"score": 0, "output": why, "visibility": "visible"}
