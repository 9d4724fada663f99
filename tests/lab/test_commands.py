"""Training without a notebook: fit, evaluate, sample, certify."""

import dataclasses
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import pytest
import torch
from PIL import Image

import resflow_lite as rf
import resflow_lite.lab.tasks.density as density
from resflow_lite.__main__ import main, parser
from resflow_lite.lab.arguments import parameters
from resflow_lite.lab.files import NotWritten
from resflow_lite.lab.machine import Interrupted, Stopped
from resflow_lite.lab.notebooks import CellFailed
from resflow_lite.lab.reproduction import RunsFailed

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


def test_evaluate_tells_the_score_and_its_errors(folder, capsys, printed):
    assert main(["evaluate", str(folder), "--estimator", "krylov", "--passes", "3"]) == 0
    told = capsys.readouterr().out
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["passes"] == 3 and "Krylov" in metrics["estimator"]
    words = dict(bits_per_dim="test bits/dim", standard_error=" +-", data_error="from images", noise_error="from noise")
    for name, before in words.items():
        assert abs(printed(told, before) - metrics[name]) < 5.1e-5
    assert abs(printed(told, "last step") - metrics["last_step"][0]) < 5.1e-5
    assert not list(folder.glob(".*/"))


@pytest.mark.parametrize(
    ("words", "told"), [([], "Exact()"), (["--estimator", "roulette"], "n_exact=20, draws='sample'")], ids=str
)
def test_evaluate_takes_the_best_truth_or_what_it_is_told(folder, words, told):
    assert main(["evaluate", str(folder), "--passes", "2", "--images", "20", *words]) == 0
    assert told in json.loads((folder / "metrics.json").read_text())["estimator"]


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
    assert "one pass cannot tell" in told and "nan" not in told
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
            options = parser().parse_args(own)
            verbs.append(own[0])
            if own[0] == "fit":
                rf.Experiment.from_parameters(parameters(options.parameters, options.file))
        if words[:1] == ["papermill"]:
            given = {name: value for flag, name, value in zip(words, words[1:], words[2:]) if flag == "-p"}
            assert given.pop("run_dir") and rf.Experiment.from_parameters(given)
            verbs.append("papermill")
    assert {"fetch", "fit", "evaluate", "sample", "certify", "papermill", "reproduce"} == set(verbs)
    assert verbs.count("fit") == 4  # one GPU, eight, several machines, SLURM


@pytest.mark.parametrize("verb", ["evaluate", "sample", "certify"])
def test_a_folder_without_a_run_is_refused(verb, tmp_path, capsys):
    assert main([verb, str(tmp_path)]) == 2
    told = capsys.readouterr().err
    nothing = "holds no model.safetensors and no checkpoint.safetensors"
    assert told == f"{tmp_path} {nothing}: expected the folder of a run, as fit writes it\n"
    file = tmp_path / "file"
    file.touch()
    for wrong in (file, tmp_path / "gone", tmp_path / ("long" * 100), "\0"):
        assert main([verb, str(wrong)]) == 2 and len(capsys.readouterr().err.splitlines()) == 1


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


def refused(words, capsys):
    """The one sentence with which a command is refused."""
    assert main([str(word) for word in words]) == 2
    told = capsys.readouterr()
    (sentence,) = told.err.splitlines()
    assert not told.out
    return sentence


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["evaluate", "--images", "-5"], "argument --images: '-5': expected a whole number from 2 to 2^63 - 1"),
        (["evaluate", "--images", "1"], "'1': expected a whole number from 2"),
        (["evaluate", "--images", "0"], "'0': expected a whole number from 2"),
        (["evaluate", "--images", "2.5"], "'2.5': expected a whole number"),
        (["evaluate", "--passes", "0"], "argument --passes: '0': expected a whole number from 1 to 10,000"),
        (["evaluate", "--passes", "1e12"], "'1e12': expected a whole number from 1 to 10,000"),
        (["evaluate", "--passes", "true"], "'true': expected a whole number"),
        (["evaluate", "--passes", "[2"], "'[2': expected a whole number"),
        (["evaluate", "--split", "tset"], "split 'tset'"),
        (["sample", "-n", "0"], "argument -n: '0': expected a whole number from 1 to 10,000"),
        (["sample", "-n", str(10**12)], "expected a whole number from 1 to 10,000"),
        (["sample", "--temperature", "-1"], "argument --temperature: '-1': expected a number from 0 to 10"),
        (["sample", "--temperature", "inf"], "'inf': expected a number from 0 to 10"),
        (["sample", "--temperature", "nan"], "'nan': expected a number from 0 to 10"),
        (["sample", "--temperature", "1e30"], "'1e30': expected a number from 0 to 10"),
        (["sample", "--temperature", "warm"], "'warm': expected a number from 0 to 10"),
        (["sample", "--seed", str(2**63)], "expected a whole number from 0 to 2^63 - 1"),
        (["sample", "--seed", "-1"], "'-1': expected a whole number from 0"),
        (["certify", "--weights", "bset"], "argument --weights: invalid choice: 'bset'"),
        (["certify", "--experiment", "mine"], "--experiment 'mine': expected MODULE:NAME"),
        (["certify", "--experiment", "no_such_module:e"], "ModuleNotFoundError: No module named 'no_such_module'"),
        (["certify", "--experiment", "json:dumps"], "--experiment json:dumps is of type function: expected an object"),
        (["certify", "--experiment", "resflow_lite:Experiment"], "is the class Experiment: expected an object"),
        (["certify", "--experiment", "resflow_lite:experiment"], "has no attribute 'experiment'"),
    ],
)
def test_an_option_out_of_its_range_is_refused_in_one_sentence(folder, words, sentence, capsys):
    verb, *options = words
    assert sentence in refused([verb, folder, *options], capsys)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["fit", "-p", "steps", "1.5"], "steps = 1.5"),
        (["fit", "-p", "steps", "nan"], "steps = nan"),
        (["fit", "-p", "blocks", "[2"], "'[2': expected ',' or ']'"),
        (["fit", "-p", "steps", "3", "-p", "steps", "4"], "-p steps is given twice: 3 and '4'"),
        (["fit", "-p", "step", "3"], "unknown parameter 'step': did you mean 'steps'?"),
        (["fit", "-p", "dataset", "folder:"], "dataset = 'folder:'"),
        (["fit", "-f", "gone.yaml"], "there is no file gone.yaml"),
        (["fit", "-f", ""], "argument -f: '': expected a path"),
        (["fit", "--run-dir", "\0"], "expected a path"),
        (["fit", "--run-dir", "/etc/hostname"], "cannot be a folder for results"),
        (["fit", "--run-dir", "/proc/x"], "cannot be a folder for results"),
        (["fit", "--run-dir", "long" * 100], "cannot be a folder for results"),
        (["fit", "--from", "/etc/hostname"], "/etc/hostname is no folder: expected the folder of a run"),
        (["fit", "--task", "plan"], "argument --task: invalid choice: 'plan'"),
        (["fit", "--task", "plane", "-p", "dataset", "digits"], "dataset = 'digits'"),
        (["fit", "--experiment", "resflow_lite:Experiment", "-p", "steps", "3"], "leave out -p, -f and --task"),
        (["reproduce", "--workers", "0"], "argument --workers: '0': expected a whole number from 1"),
        (["reproduce", "--index", "-1"], "argument --index: '-1': expected a whole number from 0"),
        (["fetch", "folder:x"], "image data 'folder:x': expected one of digits"),
        (["fti"], "argument VERB: invalid choice: 'fti'"),
        ([], "arguments are required: VERB"),
    ],
)
def test_what_cannot_work_is_refused_in_one_sentence(words, sentence, capsys):
    assert sentence in refused(words, capsys)


@pytest.mark.parametrize("value", ["abc", "2", "0", "-1", ""])
def test_a_world_size_that_another_job_has_left_is_refused(value, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("WORLD_SIZE", value)
    told = refused([*FIT, "--run-dir", tmp_path / "run"], capsys)
    assert f"WORLD_SIZE={value} in the environment" in told and "unset it" in told


def test_a_results_folder_below_a_file_is_refused(monkeypatch, tmp_path, capsys):
    (tmp_path / "home").touch()
    monkeypatch.setenv("RESFLOW_HOME", str(tmp_path / "home"))
    assert "cannot be a folder for results" in refused(FIT, capsys)


def test_settings_come_from_a_file_and_the_command_line_has_the_last_word(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("steps: 1e3\nblocks: [2, 2]\nlr: 1e-3\nflip: true\n")
    options = parser().parse_args(["fit", "-f", str(path), "-p", "steps", "5", "-p", "norms", "learned"])
    given = parameters(options.parameters, options.file)
    assert given == dict(steps=5, blocks=[2, 2], lr=1e-3, flip=True, norms="learned")
    assert rf.Experiment.from_parameters(given).blocks == (2, 2)


@pytest.mark.parametrize("content", ["- steps", "steps", "", "5: 5"])
def test_a_file_that_is_no_settings_by_name_is_refused(content, tmp_path, capsys):
    path = tmp_path / "settings.yaml"
    path.write_text(content)
    assert f"{path}: expected settings by name, such as steps: 100" in refused(["fit", "-f", path], capsys)


@pytest.mark.parametrize("task", ["density", "plane", "hybrid"])
def test_help_names_every_setting_of_a_task_with_its_type_and_default(task, capsys):
    settings = dict(density=rf.Experiment, plane=rf.ToyExperiment, hybrid=rf.HybridExperiment)[task]
    assert main(["fit", "--help", "--task", task]) == 0
    told = capsys.readouterr().out
    for field in dataclasses.fields(settings):
        assert re.search(
            rf"^  {field.name} +(int|float|bool|str|list)[ \w]* +{re.escape(str(field.default))}", told, re.M
        )


def test_a_plane_density_is_trained_from_the_command_line(tmp_path, capsys):
    words = ["fit", "--task", "plane", "-p", "profile", "smoke", "-p", "steps", "3", "-p", "points", "1e2"]
    assert main([*words, "--run-dir", str(tmp_path)]) == 0
    assert str(tmp_path / "model.safetensors") in capsys.readouterr().out


def test_settings_made_in_python_are_taken_by_name(tmp_path, monkeypatch, capsys):
    (tmp_path / "my_settings.py").write_text(
        "import torch, resflow_lite as rf\n"
        "def dots(split):\n"
        "    images = torch.randint(0, 4, (20, 1, 4, 4), generator=torch.Generator().manual_seed(len(split)))\n"
        "    return rf.Images(images, torch.zeros(20, dtype=torch.int64), 4)\n"
        "small = dict(profile='smoke', steps=2, width=4, dense_width=4, validation=5, evaluations=2)\n"
        "experiment = rf.Experiment(dataset=dots, train_estimator=rf.PowerSeries(rf.Truncated(3)), **small)\n"
        "other = [1][1]\n"
    )
    monkeypatch.chdir(tmp_path)
    assert "IndexError: list index out of range" in refused(["fit", "--experiment", "my_settings:experiment"], capsys)
    text = (tmp_path / "my_settings.py").read_text()
    (tmp_path / "my_settings.py").write_text(text.replace("other = [1][1]\n", ""))
    own = ["--experiment", "my_settings:experiment"]
    assert main(["fit", *own, "--run-dir", "run"]) == 0
    for verb in ("evaluate", "certify", "sample"):
        assert main([verb, "run", *own]) == 0
    assert "(dots, 20 test images)" in capsys.readouterr().out


def test_a_full_disk_or_another_failure_of_a_file_is_one_sentence(folder, capsys):
    (folder / "samples.png").unlink(missing_ok=True)
    (folder / "samples.png").mkdir()
    try:
        assert main(["sample", str(folder), "-n", "2"]) == 1
    finally:
        (folder / "samples.png").rmdir()
    told = capsys.readouterr().err
    assert "samples.png cannot be written (Is a directory)" in told and len(told.splitlines()) == 1


def test_too_large_a_batch_is_one_sentence(tmp_path, capsys):
    assert main([*FIT, "-p", "batch_size", str(10**15), "--run-dir", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert "the memory does not suffice" in told and "lower batch_size" in told and len(told.splitlines()) == 1


CODES = [
    (rf.SettingsError, 2),
    (rf.DataError, 2),
    (rf.ResflowError, 1),
    (rf.NotContractiveError, 1),
    (rf.InverseError, 1),
    (rf.CheckFailed, 1),
    (CellFailed, 1),
    (RunsFailed, 1),
    (NotWritten, 1),
    (OSError, 1),
    (MemoryError, 1),
    (Stopped, 143),
    (Interrupted, 130),
    (KeyboardInterrupt, 130),
]


@pytest.mark.parametrize(("error", "code"), CODES, ids=[error.__name__ for error, _ in CODES])
def test_what_was_given_is_told_from_what_failed_by_the_exit_code(monkeypatch, tmp_path, capsys, error, code):
    def failing(*_, **__):
        raise error("the sentence")

    monkeypatch.setattr("resflow_lite.lab.commands.fit", failing)
    assert main([*FIT, "--run-dir", str(tmp_path)]) == code
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_training_that_goes_astray_is_a_failure_and_no_wrong_request(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(density, "bits_per_dim", lambda *args: rf.bits_per_dim(*args) * float("nan"))
    assert main([*FIT, "--run-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("the loss became nan at step 1: lower lr")


def test_ctrl_c_is_one_line(monkeypatch, tmp_path, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("resflow_lite.lab.commands.fit", interrupted)
    assert main([*FIT, "--run-dir", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "stopped by Ctrl-C\n"


@pytest.mark.parametrize("content", ["", '{"a": 1, "a": 1}', '{"a": ', "{}", "[]", "3", '{"lipschitz_bound": "a"}'])
def test_a_damaged_metrics_file_does_not_stop_a_finished_run(folder, content, capsys):
    (folder / "metrics.json").write_text(content)
    assert main([*FIT, "--run-dir", str(folder)]) == 0
    assert "metrics.json is not what evaluate writes" in capsys.readouterr().out
    (folder / "metrics.json").unlink()


def test_a_machine_that_only_trains_needs_no_matplotlib():
    program = (
        "import sys, resflow_lite.book.commands; sys.exit('matplotlib' in sys.modules or 'papermill' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


@pytest.mark.parametrize("words", [["--help"], ["reproduce", "-h"], ["evaluate", "x", "--images", "0"]], ids=" ".join)
def test_help_and_a_wrong_option_do_not_wait_for_torch(words):
    """On some machines torch takes longer to load than whoever asks for help will wait."""
    program = f"import sys; from resflow_lite.__main__ import main\ntry: main({words})\nexcept SystemExit: pass\n"
    program += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode == 0


@pytest.fixture
def pictures(tmp_path):
    """Sixty 8 x 8 digits, saved in five modes in turn."""
    levels = rf.load_images("digits").images[:60, 0] * 15
    for i, image in enumerate(levels.numpy()):
        picture = Image.fromarray(image)
        saved = [
            picture,
            picture.convert("RGB"),
            picture.convert("P"),
            picture.convert("1"),
            Image.fromarray(image.astype("uint16") * 257),
        ][i % 5]
        (tmp_path / "pictures").mkdir(exist_ok=True)
        saved.save(tmp_path / "pictures" / f"{i:03}.png")
    return tmp_path / "pictures"


def test_a_folder_of_pictures_is_trained_on_evaluated_certified_and_sampled(pictures, tmp_path, monkeypatch, capsys):
    assert {Image.open(path).mode for path in pictures.iterdir()} == {"L", "RGB", "P", "1", "I;16"}
    monkeypatch.chdir(tmp_path)
    words = ["-p", "steps", "2", "-p", "width", "4", "-p", "dense_width", "4", "-p", "validation", "5"]
    assert main(["fit", "-p", "dataset", "folder:pictures", "-p", "profile", "smoke", *words, "--run-dir", "run"]) == 0
    assert main(["evaluate", "run"]) == 0
    n_test = len(rf.load_images("folder:pictures", "test").images)
    assert f"(folder:pictures, {n_test} test images)" in capsys.readouterr().out
    assert json.loads(Path("run/ledger.json").read_text())["data_sha256"]
    assert main(["certify", "run"]) == 0 and "proven" in capsys.readouterr().out
    assert main(["sample", "run", "-n", "4"]) == 0 and Path("run/samples.png").is_file()
    assert rf.load_run("run").flow.event_shape == (3, 8, 8)
    pictures.rename(tmp_path / "elsewhere")
    assert main(["certify", "run"]) == 0
    capsys.readouterr()
    told = refused(["evaluate", "run"], capsys)
    assert told == f"there is no folder {tmp_path}/pictures: expected one that holds images"


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0 and capsys.readouterr().out.strip() == f"resflow-lite {rf.__version__}"


def test_jupyterlab_opens_at_the_first_page(monkeypatch):
    started = []
    monkeypatch.setattr("os.execv", lambda program, words: started.append(words))
    main(["lab", "--", "--no-browser"])
    assert started[0][2:3] == ["jupyterlab"] and started[0][-1] == "--no-browser"
    assert "--LabApp.default_url=/lab/tree/00_start_here.ipynb" in started[0]
