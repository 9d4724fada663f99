"""From the variables of a notebook to an Experiment: nothing misspelt may pass."""

import ast
import math
import re
from pathlib import Path

import nbformat
import pytest

import resflow_lite as rf
from resflow_lite.lab.notebooks import experiment_from_notebook

CHAPTERS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
NOTEBOOKS = [path for path in CHAPTERS if "experiment_from_notebook" in path.read_text()]


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    monkeypatch.setenv("RESFLOW_HOME", str(tmp_path))


def notebook_names(**parameters):
    """What a fresh kernel holds beside the parameters."""
    ipython = dict(In=[""], Out={}, exit=print, quit=print, open=open, get_ipython=print, _="", __name__="__main__")
    return {**ipython, "_i1": "lr = 1", "math": math, "Path": Path, "sorted_by": sorted, **parameters}


def test_parameters_become_an_experiment():
    experiment, _ = experiment_from_notebook(notebook_names(profile="smoke", lr="1e-3", blocks=[2, 1]))
    assert experiment == rf.Experiment(profile="smoke", lr=1e-3, blocks=(2, 1))


def test_an_estimator_object_is_a_parameter_too():
    own = rf.PowerSeries(rf.Truncated(3))
    assert experiment_from_notebook(notebook_names(train_estimator=own))[0].train_estimator is own


@pytest.mark.parametrize("value", [1, "1", None, [1], {"a": 1}, 1.0])
def test_a_misspelt_name_is_refused_whatever_its_value(value, tmp_path):
    with pytest.raises(rf.SettingsError, match=r"unknown parameter 'step': did you mean 'steps'\?.*restart the kernel"):
        experiment_from_notebook(notebook_names(profile="smoke", step=value))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["lr", "steps", "dataset", "profile"])
def test_a_wrong_value_is_refused(name):
    with pytest.raises(rf.SettingsError, match=f"^{name} = 'banana': expected [^.]*$"):
        experiment_from_notebook(notebook_names(**{name: "banana"}))


def test_the_cell_can_run_again_after_the_notebook_has_made_variables():
    names = notebook_names(profile="smoke", steps=3)
    before = dict(names)
    experiment, folder = experiment_from_notebook(names)
    assert names == before  # read, not written
    names.update(experiment=experiment, folder=folder, rows=[1, 2], total=0.5, steps=4)
    assert experiment_from_notebook(names)[0].steps == 4
    names.update(steps="many")
    with pytest.raises(rf.SettingsError, match="steps = 'many'"):
        experiment_from_notebook(names)


def test_an_empty_run_dir_gives_a_fresh_folder_each_time(tmp_path):
    folders = [experiment_from_notebook(notebook_names(run_dir=""))[1] for _ in range(2)]
    assert folders[0] != folders[1]
    for folder in folders:
        assert folder.is_dir() and folder.parent == tmp_path / "runs"
        assert re.match(r"digits-\d{8}-\d{6}-", folder.name)


def test_a_data_set_of_ones_own_names_its_folder_harmlessly(tmp_path):
    _, folder = experiment_from_notebook(notebook_names(dataset="folder:../../my pictures", profile="smoke"))
    assert folder.parent == tmp_path / "runs" and folder.name.startswith("folder-my-pictures-")


def test_a_run_dir_that_cannot_be_a_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(rf.SettingsError, match="file' cannot be a folder for results"):
        experiment_from_notebook(notebook_names(run_dir=str(tmp_path / "file")))


@pytest.mark.parametrize("kind", [str, Path])
def test_a_named_run_dir_is_made_and_used(kind, tmp_path):
    _, folder = experiment_from_notebook(notebook_names(run_dir=kind(tmp_path / "a" / "b")))
    assert folder == tmp_path / "a" / "b" and folder.is_dir()


def test_a_run_dir_that_is_no_path_is_refused():
    with pytest.raises(rf.SettingsError, match="run_dir = 3: expected the path"):
        experiment_from_notebook(notebook_names(run_dir=3))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_parameters_of_a_notebook_are_settings_with_their_defaults(path):
    """A chapter's checks of quality are for the default settings, so its parameter cell must hold exactly those."""
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert "parameters" in code[0].metadata.get("tags", [])
    written = {line.target.id: ast.literal_eval(line.value) for line in ast.parse(code[0].source).body}
    assert written.pop("run_dir") == ""
    assert rf.Experiment.from_parameters(written) == rf.Experiment()
