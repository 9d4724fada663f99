"""Training without a notebook: fit, evaluate, sample, certify."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import matplotlib.image
import pytest
import torch

import resflow_lite as rf
from resflow_lite.__main__ import _parameters, _parser, main

FIT = ["fit", "-p", "profile", "smoke", "-p", "steps", "3", "-p", "validation", "20", "-p", "width", "8"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.set_default_dtype(torch.float32)
    folder = tmp_path_factory.mktemp("run")
    assert main([*FIT, "--run-dir", str(folder)]) == 0
    return folder


def test_fit_leaves_a_run(folder):
    run = rf.load_run(folder)
    assert run.experiment == rf.Experiment(profile="smoke", steps=3, validation=20, width=8) and run.weights == "best"


def test_fit_again_goes_on_and_other_settings_are_refused(folder, capsys):
    assert main([*FIT, "--run-dir", str(folder)]) == 0
    assert main(["fit", "-p", "profile", "smoke", "--run-dir", str(folder)]) == 2
    assert "holds a run with steps = 3, width = 8" in capsys.readouterr().err


def test_evaluate_tells_the_score_and_its_errors(folder, capsys):
    assert main(["evaluate", str(folder), "--estimator", "krylov", "--passes", "3"]) == 0
    told = capsys.readouterr().out
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["passes"] == 3 and "Krylov" in metrics["estimator"]
    assert f"test bits/dim {metrics['bits_per_dim']:.4f} +- {metrics['standard_error']:.4f}" in told
    assert f"from images {metrics['data_error']:.4f}, from noise {metrics['noise_error']:.4f}" in told
    assert f"last step {metrics['last_step'][0]:.4f}" in told
    assert not list(folder.glob(".*/"))


def test_evaluate_can_compare_estimators_and_take_a_part(folder, capsys):
    assert (
        main(["evaluate", str(folder), "--split", "validation", "--images", "30", "--weights", "last", "--bias"]) == 0
    )
    told = capsys.readouterr().out
    assert "reported bits/dim off by" in told and "(digits, 30 validation images)" in told


def test_evaluate_publishes(folder, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("RESFLOW_HOME", str(tmp_path))
    assert main(["evaluate", str(folder), "--publish"]) == 0
    (path,) = (tmp_path / "data" / "results").glob("digits-smoke-seed0-*.json")
    assert str(path) in capsys.readouterr().out
    assert main(["evaluate", str(folder), "--publish"]) == 2
    assert "is there already" in capsys.readouterr().err


def test_sample_writes_a_picture(folder, capsys):
    assert main(["sample", str(folder), "-n", "5", "--temperature", "0.7"]) == 0
    path = folder / "samples.png"
    assert capsys.readouterr().out.strip() == str(path)
    assert matplotlib.image.imread(path).shape[2] == 4


def test_certify_prints_the_proof(folder, capsys):
    assert main(["certify", str(folder)]) == 0
    assert capsys.readouterr().out.count("proven") == 3


def test_a_flow_without_residual_blocks_is_scored_too(tmp_path, capsys):
    words = [*FIT[:-3], "-p", "system", "glow", "--run-dir", str(tmp_path)]
    assert main(words) == 0 and main(["evaluate", str(tmp_path), "--images", "10", "--passes", "1"]) == 0
    told = capsys.readouterr().out
    assert "invertible by construction" in told and "(digits, 10 test images)" in told


def commands_of_the_readme():
    """Every shell command under "Training at scale", its continued lines joined, without comments."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    section = readme[readme.index("## Training at scale") : readme.index("## Results")]
    for block in re.findall(r"```bash\n(.*?)```", section, flags=re.DOTALL):
        assert subprocess.run(["bash", "-n"], input=block, text=True).returncode == 0, block
        for line in block.replace("\\\n", " ").splitlines():
            yield shlex.split(line, comments=True)


def test_the_commands_of_the_readme_are_understood():
    """Verbs, options and settings are ours, those of torchrun are PyTorch's."""
    from torch.distributed.run import get_args_parser

    verbs = []
    for words in commands_of_the_readme():
        if "torchrun" in words:
            launch = get_args_parser().parse_args(words[words.index("torchrun") + 1 :])
            assert launch.module and launch.training_script == "resflow_lite"
        if "resflow_lite" in words:
            own = [word.replace("$SLURM_ARRAY_TASK_ID", "0") for word in words[words.index("resflow_lite") + 1 :]]
            options = _parser().parse_args(own)
            verbs.append(own[0])
            if own[0] == "fit":
                rf.Experiment.from_parameters(_parameters(options))
        if words[:1] == ["papermill"]:
            given = {name: value for flag, name, value in zip(words, words[1:], words[2:]) if flag == "-p"}
            assert given.pop("run_dir") and rf.Experiment.from_parameters(given)
            verbs.append("papermill")
    assert {"fetch", "fit", "evaluate", "sample", "certify", "papermill", "reproduce"} == set(verbs)
    assert verbs.count("fit") == 4  # one GPU, eight, several machines, SLURM


@pytest.mark.parametrize("verb", ["evaluate", "sample", "certify"])
def test_a_folder_without_a_run_is_refused(verb, tmp_path, capsys):
    assert main([verb, str(tmp_path)]) == 2
    assert "not a readable flow checkpoint" in capsys.readouterr().err


def test_a_stopped_training_has_the_exit_code_of_sigterm(command, tmp_path):
    import time

    process = command("fit", "--run-dir", tmp_path, steps=5000)
    while not (tmp_path / "checkpoint.safetensors").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    told, _ = process.communicate()
    assert process.returncode == 143 and "SIGTERM: stopped after step" in told
    assert (tmp_path / "checkpoint.safetensors").exists()
