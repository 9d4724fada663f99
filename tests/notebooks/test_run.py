"""Notebooks as experiments: refused before they start, kept when they succeed and when they fail."""

import base64
import io
import json
import sys

import nbformat
import pytest
from PIL import Image

from resflow_lite.__main__ import main
from resflow_lite.errors import SettingsError
from resflow_lite.lab.notebooks import CellFailed, refresh_notebook, run_notebook

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


@pytest.fixture
def write_notebook(tmp_path):
    """Makes a small notebook; its second cell leaves a file behind as evidence that it ran."""

    def write(last_cell="print('lr is', lr)", parameters="lr: float = 1e-3  # learning rate", kernel=KERNEL):
        notebook = nbformat.v4.new_notebook()
        notebook.metadata.update(kernelspec=kernel) if kernel else None
        notebook.cells = [
            nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell("open('evidence', 'w').close()"),
            nbformat.v4.new_code_cell(last_cell),
        ]
        nbformat.write(notebook, tmp_path / "tiny.ipynb")
        return tmp_path / "tiny.ipynb"

    return write


@pytest.mark.parametrize(("parameters", "named"), [({"learning_rat": 1}, "learning_rat"), ({"lr": "banana"}, "banana")])
def test_a_wrong_name_or_value_is_refused_before_anything_runs(write_notebook, tmp_path, parameters, named):
    with pytest.raises(SettingsError, match=named):
        run_notebook(write_notebook(), tmp_path / "run", parameters)
    assert not (tmp_path / "evidence").exists()
    assert not (tmp_path / "run").exists()


def test_names_of_settings_that_mean_something_else_in_a_notebook_are_not_held_to_an_experiment(
    write_notebook, tmp_path
):
    path = write_notebook("print('blocks:', blocks)", "blocks: int = 8\nseed: int = 0")
    assert "blocks: 4" in run_notebook(path, tmp_path / "run", {"blocks": 4}).read_text()


def test_a_refused_name_comes_with_the_near_one(write_notebook, tmp_path):
    with pytest.raises(SettingsError, match=r"tiny\.ipynb: unknown parameter 'lrr': did you mean 'lr'\? Known: lr"):
        run_notebook(write_notebook(), tmp_path / "run", {"lrr": 1})


def test_a_missing_notebook_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="no notebook"):
        run_notebook(tmp_path / "missing.ipynb", tmp_path / "run", {})


def test_success_leaves_the_notebook_and_its_page_and_shows_its_lines(write_notebook, tmp_path, capsys):
    executed = run_notebook(write_notebook(), tmp_path / "run", {"lr": 0.25})
    assert executed == tmp_path / "run" / "notebook.ipynb"
    assert (tmp_path / "evidence").exists()
    assert "lr is 0.25" in executed.read_text()
    assert "lr is 0.25" in executed.with_suffix(".html").read_text()
    assert "lr is 0.25" in capsys.readouterr().out


def test_a_notebook_that_asks_for_its_run_dir_is_told(write_notebook, tmp_path):
    path = write_notebook("print('in', run_dir)", "lr: float = 1e-3\nrun_dir: str = None")
    assert f"in {tmp_path / 'run'}" in run_notebook(path, tmp_path / "run", {"lr": 0.25}).read_text()


@pytest.mark.parametrize(
    ("last_cell", "sentence"),
    [("raise ValueError('too hot')", "ValueError: too hot"), ("import os; os.kill(os.getpid(), 9)", "kernel died")],
)
def test_a_failing_cell_raises_and_its_notebook_is_kept(write_notebook, tmp_path, last_cell, sentence):
    with pytest.raises(CellFailed, match=sentence):
        run_notebook(write_notebook(last_cell), tmp_path / "run", {})
    assert last_cell in (tmp_path / "run" / "notebook.ipynb").read_text()


@pytest.mark.parametrize(
    ("last_cell", "parameters", "code", "sentence"),
    [
        ("1", ["-p", "lr", "banana"], 2, "banana"),
        ("1", ["-p", "learning_rat", "1"], 2, "learning_rat"),
        ("raise ValueError('too hot')", [], 1, "ValueError: too hot"),
    ],
)
def test_the_command_line_answers_with_one_sentence(
    write_notebook, tmp_path, capfd, last_cell, parameters, code, sentence
):
    path = write_notebook(last_cell)
    assert main(["run", "--notebook", str(path), "--run-dir", str(tmp_path / "run"), *parameters]) == code
    told = capfd.readouterr().err
    assert sentence in told
    assert len(told.splitlines()) == 1


def test_the_command_line_passes_parameters_on_and_tells_where_the_results_are(write_notebook, tmp_path, capfd):
    metrics = dict(split="test", bits_per_dim=2.10336, standard_error=0.0056, dataset="digits", n_test=297)
    metrics |= dict(lipschitz_bound=0.94, reconstruction_error=2e-7)
    path = write_notebook(f"open('run/metrics.json', 'w').write('{json.dumps(metrics)}')\nprint('lr is', lr)")
    run_dir = tmp_path / "run"
    assert main(["run", "-p", "lr", "5e-2", "--notebook", str(path), "--run-dir", str(run_dir)]) == 0
    told = capfd.readouterr().out.splitlines()
    assert told == [
        "lr is 0.05",
        *(str(run_dir / name) for name in ("metrics.json", "notebook.html", "notebook.ipynb")),
        "invertible: proven, Lip(g) <= 0.9400 in every block; largest reconstruction error 2.0e-07",
        "test bits/dim 2.1034 +- 0.0056 (digits, 297 test images)",
    ]


def test_a_refreshed_notebook_holds_its_outputs_and_nothing_else_is_new(write_notebook):
    path = write_notebook("import time\nprint('lr is', lr, flush=True)\ntime.sleep(0.5)\nprint('and later')")
    before = nbformat.read(path, 4)
    refresh_notebook(path)
    after = nbformat.read(path, 4)
    assert after.metadata == before.metadata
    assert [output.text for output in after.cells[-1].outputs] == ["lr is 0.001\nand later\n"]
    for cell in (*before.cells, *after.cells):
        cell.pop("outputs"), cell.pop("execution_count")
    assert after.cells == before.cells


def test_a_refreshed_notebook_keeps_its_figures_small(write_notebook):
    path = write_notebook("import matplotlib.pyplot as plt\nplt.plot([1, 3, 2])\nplt.show()")
    refresh_notebook(path)
    outputs = [output for cell in nbformat.read(path, 4).cells for output in cell.get("outputs", [])]
    (png,) = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    with Image.open(io.BytesIO(base64.b64decode(png))) as picture:
        assert picture.mode == "P"
        assert picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_two_refreshed_notebooks_with_a_widget_are_the_same(write_notebook):
    """Without its kernel a widget is its picture and its words; the number of its model, another one every time, is
    of use to nobody."""
    path = write_notebook("from resflow_lite.book import predict\npredict('a', 'How many?')")
    files = [(refresh_notebook(path), path.read_text())[1] for _ in range(2)]
    assert files[0] == files[1] and "How many?" in files[0] and "widget-view" not in files[0]


@pytest.mark.parametrize(
    ("cell", "sentence"),
    [("raise ValueError('too hot')", "ValueError: too hot"), ("import os; os.kill(os.getpid(), 9)", "kernel died")],
)
def test_a_notebook_that_fails_is_not_refreshed(write_notebook, cell, sentence):
    path = write_notebook(cell)
    before = path.read_text()
    with pytest.raises(CellFailed, match=sentence):
        refresh_notebook(path)
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "not a notebook that Jupyter can read"),
        (b"hello", "not a notebook that Jupyter can read"),
        (b"[1, 2]", "not a notebook that Jupyter can read"),
        (b"\x82\x00\xff", "not a notebook that Jupyter can read"),
        (b'{"nbformat": 99, "nbformat_minor": 0, "cells": [], "metadata": {}}', "not a notebook that Jupyter can read"),
        (b"[" * 100_000, "not a notebook that Jupyter can read"),
    ],
)
def test_a_file_that_is_no_notebook_is_refused_in_a_sentence(content, sentence, tmp_path, capfd):
    path = tmp_path / "none.ipynb"
    path.write_bytes(content)
    for more in ([], ["--help"]):
        assert main(["run", "--notebook", str(path), "--run-dir", str(tmp_path / "run"), *more]) == 2
        told = capfd.readouterr().err
        assert sentence in told and len(told.splitlines()) == 1 and not (tmp_path / "run").exists()


def test_a_notebook_of_another_language_is_refused(write_notebook, tmp_path):
    path = write_notebook(kernel={"name": "ir", "display_name": "R", "language": "R"})
    with pytest.raises(SettingsError, match="is in the language R: expected a notebook of Python"):
        run_notebook(path, tmp_path / "run", {})


@pytest.mark.parametrize("kernel", [None, dict(KERNEL, name="no-such-kernel"), dict(name="mine", display_name="Mine")])
def test_a_notebook_whose_kernel_is_not_here_runs_in_this_python(write_notebook, tmp_path, kernel):
    path = write_notebook("import sys; print(sys.executable)", kernel=kernel)
    assert sys.executable in run_notebook(path, tmp_path / "run", {}).read_text()


def test_braces_in_a_path_are_braces(write_notebook, tmp_path):
    path = write_notebook().rename(tmp_path / "{lr} {0} }{.ipynb")
    executed = run_notebook(path, tmp_path / "{run_dir}", {"lr": 0.25})
    assert executed == tmp_path / "{run_dir}" / "notebook.ipynb" and "lr is 0.25" in executed.read_text()


def test_a_folder_of_images_is_meant_from_where_the_command_is_given(write_notebook, tmp_path, monkeypatch, capfd):
    path = write_notebook("print('from', dataset)", 'dataset: str = "digits"\nother: int = 1')
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["run", "--notebook", str(path), "--run-dir", "run", "-p", "dataset", "folder:mine"]) == 0
    assert f"from folder:{tmp_path}/elsewhere/mine" in capfd.readouterr().out


def test_a_default_that_is_an_expression_hides_no_other_check(write_notebook, tmp_path):
    path = write_notebook("print(steps)", "steps: int = 5 * 60\nlr: float = 1e-3")
    with pytest.raises(SettingsError, match="lr = 'banana'"):
        run_notebook(path, tmp_path / "run", {"lr": "banana"})
    assert "300" in run_notebook(path, tmp_path / "run", {"lr": 0.1}).read_text()


def test_a_run_dir_that_is_a_file_is_refused(write_notebook, tmp_path):
    path = write_notebook()
    with pytest.raises(SettingsError, match="cannot be a folder for results"):
        run_notebook(path, path, {})
    assert not (tmp_path / "evidence").exists()


def test_help_names_every_parameter_of_the_notebook(write_notebook, capfd):
    path = write_notebook(parameters="lr: float = 1e-3  # learning rate\nsteps: int = None  # of training")
    assert main(["run", "--help", "--notebook", str(path)]) == 0
    lines = capfd.readouterr().out.splitlines()[-2:]
    assert [line.split(None, 3) for line in lines] == [
        ["lr", "float", "1e-3", "learning rate"],
        ["steps", "int", "None", "of training"],
    ]
