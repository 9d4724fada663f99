"""The ablation notebook through papermill: sixteen tiny runs of its sweep, and its own two trainings."""

import json

import nbformat
import pytest

from resflow_lite.lab.ledger import validate_entry

NOTEBOOK = "ablation.ipynb"


WRONG = [("profile", "smkoe"), ("terms", "-1"), ("steps", "0"), ("profle", "smoke")]


def test_the_smoke_profile_trains_what_the_ledger_lacks(run_page, tmp_path, printed):
    finished = tmp_path / "runs" / "ablation-smoke" / "elu-roulette-seed1" / "ledger.json"
    assert run_page(NOTEBOOK, ("profile", "smoke"), ("steps", "5")) == 0
    entries = [json.loads(path.read_text()) for path in (tmp_path / "runs" / "ablation-smoke").rglob("ledger.json")]
    assert len(entries) == 16 and finished.exists()
    for entry in entries:
        validate_entry(entry)
    cells = nbformat.read(tmp_path / "page" / "notebook.ipynb", as_version=4).cells
    told = "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))
    assert "0 of 16 runs in the ledger" in told and "UNCONFIRMED" in told
    bits = [e["bits_per_dim"] for e in entries if e["settings"]["activation"] == "clipswish"]
    assert abs(printed(told, "clipswish-roulette  ") - sum(bits) / 2) < 5.1e-5


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_wrong_parameters_are_refused_before_anything_trains(run_page, tmp_path, capsys, name, value):
    assert run_page(NOTEBOOK, (name, value)) in (1, 2)
    told = capsys.readouterr().err
    assert "profle" in told or ("SettingsError" in told and (value in told or name in told))
    assert not (tmp_path / "runs").exists()
