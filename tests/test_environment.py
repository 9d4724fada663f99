"""Every route to an installation installs the same things: make, pip, uv, conda, Binder and Colab."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
README = (ROOT / "README.md").read_text()
CORE = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS = [Requirement(line) for lines in PROJECT["optional-dependencies"].values() for line in lines]
CONSTRAINTS = [
    Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")
]
# In the list of packages that Google publishes for Colab (googlecolab/backend-info), but for JupyterLab: Colab is the
# page on which notebooks open there.
COLAB_HAS = {"torch", "numpy", "scipy", "pyyaml", "matplotlib", "scikit-learn", "tqdm"}
COLAB_HAS |= {"ipykernel", "ipywidgets", "nbconvert", "jupyterlab"}


def names(requirements):
    return sorted(canonicalize_name(requirement.name) for requirement in requirements)


def test_each_direct_dependency_has_one_constraint_and_each_constraint_is_one():
    assert names(CONSTRAINTS) == names([*CORE, *EXTRAS])


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=str)
def test_constraints_are_exact_and_within_the_bounds_of_the_project(constraint):
    (pin,) = constraint.specifier
    assert pin.operator == "=="
    assert Version(pin.version).local is None  # torch==2.13.0+cpu would shut out every other build
    bounds = {canonicalize_name(r.name): r.specifier for r in [*CORE, *EXTRAS]}
    assert pin.version in bounds[canonicalize_name(constraint.name)]


def test_conda_and_make_install_the_same():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    python, pip, entries = environment
    assert python == f"python={PROJECT['requires-python'].removeprefix('>=')}"  # the oldest version, the tested one
    assert pip == "pip"
    index, *shared = entries["pip"]
    assert index.endswith("/whl/cpu")
    assert f"pip install {' '.join(shared)}\n" in (ROOT / "Makefile").read_text()
    assert shared == ["-c constraints.txt", "-e .[dev,course]"]


def test_pip_and_uv_install_what_make_installs_and_uv_runs_what_was_installed():
    tested = re.findall(r"pip install .*constraints\.txt.*", README)
    assert len(tested) == 2 and all('-c constraints.txt -e ".[dev,course]"' in line for line in tested)
    first, sync, *runs = re.findall(r"^uv .*$", README, re.MULTILINE)
    assert first.startswith("uv run ") and "--extra dev --extra course" in sync
    assert runs and all(line.startswith("uv run --no-sync ") for line in runs)


def test_uv_has_the_tested_versions_and_pytorch_for_cpus_unless_told_otherwise():
    uv, groups = PYPROJECT["tool"]["uv"], PYPROJECT["dependency-groups"]
    assert uv["constraint-dependencies"] == [str(constraint) for constraint in CONSTRAINTS]
    assert uv["default-groups"] == ["cpu"] and set(map(tuple, groups.values())) == {("torch",)}
    assert uv["conflicts"] == [[{"group": group} for group in groups]]
    assert uv["sources"]["torch"] == [{"index": f"pytorch-{group}", "group": group} for group in groups]
    address = "https://download.pytorch.org/whl/"
    assert uv["index"] == [dict(name=f"pytorch-{group}", url=address + group, explicit=True) for group in groups]
    assert all(f"/whl/{group}`" in README for group in groups)


def test_the_workflows_do_what_there_is_to_do_with_the_pythons_of_the_project():
    jobs = [yaml.safe_load(path.read_text())["jobs"] for path in (ROOT / ".github/workflows").glob("*.yml")]
    jobs = {name: job for found in jobs for name, job in found.items()}
    steps = [step for job in jobs.values() for step in job["steps"]]
    setups = [step["with"] for step in steps if "setup-python" in step.get("uses", "")]
    oldest, *newer = jobs["package"]["strategy"]["matrix"]["python"]  # text: YAML's 3.10 would be 3.1
    assert f">={oldest}" == PROJECT["requires-python"] and newer == ["3.12", "3.13", "3.14"]
    assert {setup["python-version"] for setup in setups} == {oldest, "${{ matrix.python }}"}
    commands = [step["run"] for step in steps if "run" in step]
    make, test = (ROOT / "Makefile").read_text(), "-n 2 --dist loadscope"
    assert "bash .ci/run" in commands and (ROOT / ".ci/run").is_file()
    assert "make site" in commands and "\nsite: " in make
    assert 'python -m pip install -c constraints.txt -e ".[dev]"' in commands
    assert any(test in command for command in commands) and test in make
    edited = next(command for command in commands if command.startswith("sed"))
    assert edited.split("#")[1] in (ROOT / edited.split()[-1]).read_text()  # or the site would link to OWNER


def test_the_colab_cell_leaves_torch_alone_and_installs_what_colab_lacks():
    (cell,) = re.findall(r"```python\n(REPOSITORY.*?)```", README, flags=re.DOTALL)
    package, others = (line.split()[2:] for line in cell.splitlines() if line.startswith("%pip install"))
    assert "--no-deps" in package  # or pip would resolve torch
    assert sorted(others) == sorted(set(names(CORE)) - COLAB_HAS)
