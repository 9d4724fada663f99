"""The notebook of hybrid models through papermill: the nine tiny runs of its sweep, which a second time are there."""

import json

import nbformat
import pytest

from resflow_lite.lab.ledger import validate_entry

NOTEBOOK = "hybrid.ipynb"


def test_the_smoke_profile_trains_what_is_missing_and_goes_on(run_page, tmp_path, printed):
    assert run_page(NOTEBOOK, ("profile", "smoke")) == 0
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
    assert abs(printed(told, "coupling      0       1  ") - 100 * alone["accuracy"]) < 5.1e-4

    lost = folder / "coupling-1-seed0" / "ledger.json"
    lost.unlink()
    assert run_page(NOTEBOOK, ("profile", "smoke")) == 0
    assert {path for path, time in written.items() if path.stat().st_mtime_ns > time} == {lost}


@pytest.mark.parametrize(("name", "value"), [("profile", "smkoe"), ("profle", "smoke"), ("profile", "[1]")])
def test_wrong_parameters_are_refused_before_anything_trains(run_page, tmp_path, capsys, name, value):
    assert run_page(NOTEBOOK, (name, value)) in (1, 2)
    told = capsys.readouterr().err
    assert "profle" in told or ("profile = " in told and value in told)
    assert not (tmp_path / "runs").exists()
