"""The density notebook through papermill, attached to a run that another process is writing."""

from pathlib import Path

import nbformat
import pytest

import resflow_lite as rf
from resflow_lite.__main__ import main
from resflow_lite.lab.machine import sole_writer

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "reproduction" / "density.ipynb"


@pytest.fixture
def interrupted(stopped_run):
    """A folder with a run of 40 steps that was stopped after a few."""
    return stopped_run(steps=40)


def test_it_attaches_to_a_run_in_progress(interrupted):
    words = ["run", "--notebook", str(NOTEBOOK), "--run-dir", str(interrupted), "-p", "steps", "40"]
    with sole_writer(interrupted):
        assert main(words) == 0
    cells = nbformat.read(interrupted / "notebook.ipynb", as_version=4).cells
    told = "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))
    assert "attached to a run in progress, at step 7" in told
    assert {"ledger.json", "samples.png", "checkpoint.safetensors"} <= {path.name for path in interrupted.iterdir()}
    assert rf.load_run(interrupted).step == 7


@pytest.mark.parametrize(("name", "value"), [("profle", "smoke"), ("precision", "fp8"), ("dataset", "mnits")])
def test_wrong_parameters_are_refused_before_anything_runs(name, value, tmp_path, capsys):
    assert main(["run", "--notebook", str(NOTEBOOK), "--run-dir", str(tmp_path / "run"), "-p", name, value]) == 2
    assert value in capsys.readouterr().err or name == "profle"
    assert not (tmp_path / "run").exists()
