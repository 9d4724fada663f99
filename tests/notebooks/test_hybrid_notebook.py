"""The notebook of hybrid models through papermill: the nine tiny runs of its sweep, which a second time are there."""

import json
from pathlib import Path

import nbformat
import pytest

from resflow_lite.__main__ import main
from resflow_lite.experiments.ledger import validate_entry

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "reproduction" / "hybrid.ipynb"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Executes the notebook with parameters and a home of its own; the exit code."""
    monkeypatch.setenv("RESFLOW_HOME", str(tmp_path))

    def execute(*parameters):
        words = [word for name, value in parameters for word in ("-p", name, value)]
        return main(["run", "--notebook", str(NOTEBOOK), "--run-dir", str(tmp_path / "page"), *words])

    return execute


def test_the_smoke_profile_trains_what_is_missing_and_goes_on(run, tmp_path):
    assert run(("profile", "smoke")) == 0
    folder = tmp_path / "runs" / "hybrid-smoke"
    written = {path: path.stat().st_mtime_ns for path in folder.rglob("ledger.json")}
    entries = [json.loads(path.read_text()) for path in written]
    assert len(entries) == 9
    for entry in entries:
        validate_entry(entry)
    cells = nbformat.read(tmp_path / "page" / "notebook.ipynb", as_version=4).cells
    told = "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))
    assert "9 runs; residual, coupling, coupling+1x1 blocks on digits" in told
    assert "unconfirmed  MNIST" in told and "not decided 6 (of 6)" in told
    alone = next(e for e in entries if (e["settings"]["kind"], e["settings"]["weight"]) == ("coupling", 0))
    assert f"coupling      0       1      {100 * alone['accuracy']:.3f}" in told

    lost = folder / "coupling-1-seed0" / "ledger.json"
    lost.unlink()
    assert run(("profile", "smoke")) == 0
    assert {path for path, time in written.items() if path.stat().st_mtime_ns > time} == {lost}


@pytest.mark.parametrize(("name", "value"), [("profile", "smkoe"), ("profle", "smoke"), ("profile", "[1]")])
def test_wrong_parameters_are_refused_before_anything_trains(run, tmp_path, capsys, name, value):
    assert run((name, value)) in (1, 2)
    told = capsys.readouterr().err
    assert "profle" in told or ("profile = " in told and value in told)
    assert not (tmp_path / "runs").exists()
