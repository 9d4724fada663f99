"""The pages on memory, samples and extensions through papermill: smoke runs, runs that are there, wrong parameters."""

import json
from pathlib import Path

import nbformat
import pytest

import resflow_lite as rf
from resflow_lite.__main__ import main

FOLDER = Path(__file__).parents[2] / "notebooks" / "reproduction"


def run(page, run_dir, **parameters):
    words = [word for name, value in parameters.items() for word in ("-p", name, str(value))]
    return main(["run", "--notebook", str(FOLDER / f"{page}.ipynb"), "--run-dir", str(run_dir), *words])


def told(run_dir):
    cells = nbformat.read(run_dir / "notebook.ipynb", as_version=4).cells
    return "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))


@pytest.fixture
def interrupted(stopped_run):
    """A folder with a run of the smoke profile that was stopped after a few steps."""
    return stopped_run()


def test_memory_and_time_writes_its_measurements(tmp_path):
    assert run("memory_and_time", tmp_path) == 0
    measured = json.loads((tmp_path / "cpu_memory_and_time.json").read_text())
    assert measured["settings"]["profile"] == "smoke" and measured["hardware"]["device"] == "cpu"
    assert "the paper's two tricks, autograd" in told(tmp_path)


def test_samples_goes_on_with_an_interrupted_run(interrupted):
    assert rf.load_run(interrupted).weights == "unfinished"
    assert run("samples", interrupted) == 0
    assert rf.load_run(interrupted).step == 10
    record = json.loads((interrupted / "samples.json").read_text())
    assert record["nearer_than_95_percent_of_test"]["a copier"] > 0.9
    assert "digits" in record["feature_network"] and record["fid_inception"] is None
    assert {"this run", "model of chapter 8", "independent pixels", "copies"} == set(record["frechet_distance"])
    text = told(interrupted)
    assert "Frechet distance (digits-cnn16)" in text and "FID (Inception): not computed" in text


def test_extending_trains_with_parts_of_its_own(tmp_path):
    assert run("extending", tmp_path, steps=4) == 0
    entry = json.loads((tmp_path / "ledger.json").read_text())
    assert entry["settings"]["dataset"] == "crosses" and entry["settings"]["activation"] == "Snake"
    assert "OrthogonalProbes" in entry["estimator"]["training"] and "Zeta" in entry["estimator"]["training"]
    assert told(tmp_path).count("caught: ") >= 5


@pytest.mark.parametrize(
    ("page", "name", "value"),
    [
        ("memory_and_time", "profile", "smok"),
        ("memory_and_time", "terms", "many"),
        ("samples", "dataset", "mnits"),
        ("samples", "tempreature", 0.5),
        ("extending", "steps", 0),
    ],
)
def test_wrong_parameters_are_refused_before_anything_runs(page, name, value, tmp_path, capsys):
    assert run(page, tmp_path / "run", **{name: value}) in (1, 2)
    assert name in capsys.readouterr().err
    left = {path.name for path in (tmp_path / "run").glob("*")} - {"notebook.ipynb", "notebook.html"}
    assert not left
