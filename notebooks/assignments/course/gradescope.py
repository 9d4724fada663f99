"""An autograder zip for Gradescope, which runs it in a container without resflow_lite."""

import json
import zipfile
from importlib.metadata import version
from pathlib import Path

SETUP = """#!/usr/bin/env bash
set -e
apt-get update && apt-get install -y python3 python3-pip python3-venv
python3 -m venv /opt/grader
/opt/grader/bin/pip install --extra-index-url https://download.pytorch.org/whl/cpu {packages}
chmod -R go-rwx /autograder/source
"""
RUN = """#!/usr/bin/env bash
cd /autograder
OMP_NUM_THREADS=1 /opt/grader/bin/python source/course gradescope {assignment} /autograder
"""
PACKAGES = ("torch", "numpy", "matplotlib", "scikit-learn", "nbformat", "psutil")


def build_zip(pack: Path, assignment: str) -> Path:
    """pack/gradescope-<assignment>.zip with setup.sh, run_autograder, the grader and the pack's source."""
    target = pack / f"gradescope-{assignment}.zip"
    packages = " ".join(f"{name}=={version(name).split('+')[0]}" for name in PACKAGES)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, text in (
            ("setup.sh", SETUP.format(packages=packages)),
            ("run_autograder", RUN.format(assignment=assignment)),
        ):
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o755 << 16
            bundle.writestr(info, text)
        for path in sorted((pack / "course").glob("*.py")):
            bundle.write(path, f"course/{path.name}")
        bundle.write(pack / "source" / assignment / f"{assignment}.ipynb", f"source/{assignment}/{assignment}.ipynb")
        bundle.write(pack / "term.txt", "term.txt")
    return target


def submitter(metadata: Path) -> str:
    """The user name: what stands before the @ of the first submitter's address."""
    return json.loads(metadata.read_text())["users"][0]["email"].split("@")[0]
