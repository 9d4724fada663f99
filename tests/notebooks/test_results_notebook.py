"""The results page: of the committed ledger, and of a made-up one with runs at full scale."""

import json
import re
import shutil
from pathlib import Path

import nbformat
import pytest

from resflow_lite.__main__ import main
from resflow_lite.lab import leaderboard, report

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / "reproduction" / "results.ipynb"


@pytest.fixture
def told():
    """All that an executed notebook says, text and tables."""

    def read(path):
        outputs = [out for cell in nbformat.read(path, 4).cells for out in cell.get("outputs", [])]
        return "\n".join(out.get("text") or out.get("data", {}).get("text/markdown", "") for out in outputs)

    return read


def test_the_page_of_the_committed_ledger(tmp_path, told):
    words = ["run", "--notebook", str(NOTEBOOK), "--run-dir", str(tmp_path), "-p", "profile", "smoke"]
    assert main(words) == 0
    page = told(tmp_path / "notebook.ipynb")
    assert "| Residual Flow (Chen et al. 2019) | 0.970 | 3.280 |" in page
    counts = re.findall(r"^ *(\d+) entries:", page, re.MULTILINE)
    assert sum(map(int, counts)) == len(report.read_ledger(ROOT / "data" / "results"))


def test_the_report_of_a_checkout_rewrites_its_page_and_its_readme(tmp_path, monkeypatch, told):
    page = tmp_path / "notebooks" / "reproduction" / "results.ipynb"
    page.parent.mkdir(parents=True)
    cleared = nbformat.read(NOTEBOOK, 4)
    for cell in cleared.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    nbformat.write(cleared, page)
    readme = (ROOT / "README.md").read_text()
    begin, end = readme.index(leaderboard.BEGIN) + len(leaderboard.BEGIN), readme.index(leaderboard.END)
    (tmp_path / "README.md").write_text(readme[:begin] + "old" + readme[end:])
    shutil.copytree(ROOT / "data" / "results", tmp_path / "data" / "results")
    monkeypatch.setenv("RESFLOW_HOME", str(tmp_path))
    monkeypatch.setattr("resflow_lite.lab.commands.NOTEBOOKS", tmp_path / "notebooks")
    assert main(["report"]) == 0
    assert (tmp_path / "README.md").read_text() == readme
    entries = report.read_ledger(tmp_path / "data" / "results")
    for table in (leaderboard.leaderboard(entries), leaderboard.systems_table(entries)):
        assert str(table) in told(page) and str(table) in readme
    assert nbformat.read(page, 4).metadata == cleared.metadata


def test_runs_at_full_scale_are_judged_and_the_readme_elsewhere_is_left_alone(
    made_up_entry, tmp_path, monkeypatch, capsys, told
):
    ledger = tmp_path / "data" / "results"
    ledger.mkdir(parents=True)
    by_data = {(target.model.split()[0], target.dataset): target for target in report.TARGETS}
    for key, bits in {
        ("Residual", "mnist"): 0.971,
        ("Residual", "cifar10"): 3.35,
        ("i-ResNet", "mnist"): 1.058,
    }.items():
        settings = json.loads(json.dumps(by_data[key].experiment.as_dict()))
        facts = made_up_entry(settings=settings, bits_per_dim=bits, noise_error=0.002)
        (ledger / f"{'-'.join(key)}.json").write_text(json.dumps(facts))
    (ledger / "a <b>sweep").mkdir()
    (ledger / "a <b>sweep" / "one.json").write_text(json.dumps(made_up_entry(bits_per_dim=2.5)))
    monkeypatch.setenv("RESFLOW_HOME", str(tmp_path))
    readme = ROOT / "README.md"
    before = readme.stat().st_mtime_ns, NOTEBOOK.stat().st_mtime_ns
    assert main(["report"]) == 0
    assert (readme.stat().st_mtime_ns, NOTEBOOK.stat().st_mtime_ns) == before
    (page,) = (tmp_path / "runs").glob("results-*/notebook.ipynb")
    page = told(page)
    status = {
        (model.split()[0], data): verdict
        for model, data, verdict in re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|.*\*\*([a-z ]+)\*\*", page, re.MULTILINE)
    }
    assert status.pop(("Residual", "MNIST")) == "matched"
    assert status.pop(("Residual", "CIFAR-10")) == "differs"
    assert status.pop(("i-ResNet", "MNIST")) == "undecided"
    assert set(status.values()) == {"not run"} and len(status) == len(report.TARGETS) - 3
    assert (
        "### a &lt;b&gt;sweep: bits/dim, digits" in page and "# a <b>" not in page
    )  # a heading is of its folder's name
    assert "fit -p dataset imagenet32 -p profile paper" in page and "fit -p dataset mnist" not in page
    assert str(tmp_path / "runs") in capsys.readouterr().out


def test_wrong_parameters_are_refused(tmp_path, capsys):
    words = ["run", "--notebook", str(NOTEBOOK), "--run-dir", str(tmp_path / "run"), "-p"]
    assert main([*words, "profle", "smoke"]) == 2
    assert "results.ipynb: unknown parameter 'profle': did you mean 'profile'?" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert main([*words, "profile", "large"]) == 1
    assert "profile = 'large': expected one of smoke, laptop, paper" in capsys.readouterr().err
