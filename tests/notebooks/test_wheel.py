"""The wheel, in a folder with nothing else: what a reader has who installed the package and downloaded one notebook."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import resflow_lite as rf

ROOT = Path(__file__).parents[2]
CHAPTERS = sorted(path for path in (ROOT / "notebooks").glob("*.ipynb"))
PAGES = sorted(
    path for folder in ("explorers", "reproduction") for path in (ROOT / "notebooks" / folder).glob("*.ipynb")
)
SOON = [ROOT / "notebooks" / name for name in ("04_russian_roulette.ipynb", "reproduction/results.ipynb")]
QUICK = {path: "-p steps 25".split() for path in CHAPTERS if path.name[:2] in ("08", "09")}


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """The folder that the wheel, built from this checkout, was unpacked into."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
    subprocess.run(build, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")  # as pip does, which uv leaves out of its environments
    return folder / "site"


def elsewhere(installed, folder, *words):
    """A Python of its own, in a folder that knows nothing of the checkout."""
    environment = os.environ | dict(PYTHONPATH=str(installed), RESFLOW_HOME=str(folder))
    told = subprocess.run([sys.executable, *words], cwd=folder, env=environment, text=True, capture_output=True)
    assert told.returncode == 0, told.stdout[-2000:] + told.stderr[-4000:]
    return told.stdout


def test_the_wheel_brings_models_results_and_sweeps(installed, tmp_path):
    program = "import resflow_lite as rf; from resflow_lite.lab.sweeps import sweep_names; print(rf.__file__)\n"
    program += "flow = rf.lab.pretrained('digits'); print(len(rf.lab.read_entries()), *sweep_names())"
    where, told = elsewhere(installed, tmp_path, "-c", program).splitlines()
    assert Path(where).is_relative_to(installed)
    count, *names = told.split()
    assert int(count) == len(rf.lab.read_entries(ROOT / "data" / "results"))
    assert names == sorted(path.stem for path in (ROOT / "notebooks/reproduction/sweeps").glob("*.yaml"))


def test_an_unknown_model_is_refused_with_the_names_of_those_there_are():
    with pytest.raises(rf.DataError, match="no trained model 'digit'; there are: .*digits"):
        rf.lab.pretrained("digit")
    with pytest.raises(rf.DataError, match="there is: .*systems"):
        rf.lab.shipped("results/nowhere")
    with pytest.raises(rf.DataError, match="begins with one of models"):
        rf.lab.shipped("../secrets")


@pytest.mark.parametrize("notebook", SOON, ids=lambda path: path.stem)
def test_a_notebook_runs_in_an_empty_folder(installed, tmp_path, notebook):
    runs(installed, tmp_path, notebook)


@pytest.mark.slow
@pytest.mark.parametrize("notebook", [p for p in CHAPTERS + PAGES if p not in SOON], ids=lambda path: path.stem)
def test_every_notebook_runs_in_an_empty_folder(installed, tmp_path, notebook):
    runs(installed, tmp_path, notebook)


def runs(installed, folder, notebook):
    shutil.copy(notebook, folder)
    words = ["-m", "resflow_lite", "run", "--notebook", notebook.name, "--run-dir", "here", *QUICK.get(notebook, [])]
    elsewhere(installed, folder, *words)
    assert list((folder / "here").glob("*.ipynb"))
