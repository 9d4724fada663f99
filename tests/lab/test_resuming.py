"""Nothing that happens to a run changes what comes out of it."""

import json
import math
import os
import random
import signal
import time
from dataclasses import replace
from functools import partial

import pytest
import torch
from safetensors.torch import load_file

import resflow_lite as rf
import resflow_lite.lab.step as step_module
import resflow_lite.lab.tasks.density as density
import resflow_lite.lab.training as training
from resflow_lite.lab.checkpoints import facts_of
from resflow_lite.lab.files import read_lines
from resflow_lite.lab.machine import Stopped, being_trained, sole_writer
from resflow_lite.lab.runs import sha256


@pytest.fixture
def after_step(monkeypatch):
    """Calls a function right after the optimiser's step of a given number."""

    def arrange(step, function):
        count = iter(range(1, 10**6))

        def update(flow, *args):
            rf.update_norms_(flow, *args)
            if next(count) == step:
                function()

        monkeypatch.setattr(step_module, "update_norms_", update)

    return arrange


TIMES = ("seconds", "cpu_seconds", "per_second", "seconds_left")


def without_times(history):
    return [{name: value for name, value in row.items() if name not in TIMES} for row in history]


@pytest.mark.parametrize("step", [3, 20, 29])
def test_a_run_that_was_stopped_and_resumed_is_the_same_bit_by_bit(small, after_step, same_weights, tmp_path, step):
    experiment = small(steps=40, validation=20)
    whole = rf.fit(experiment, tmp_path / "whole")
    after_step(step - 1, lambda: os.kill(os.getpid(), signal.SIGTERM))  # heard at the end of the next step
    with pytest.raises(Stopped, match=f"SIGTERM: stopped after step {step}"):
        rf.fit(experiment, tmp_path / "stopped")
    assert facts_of(tmp_path / "stopped" / "checkpoint.safetensors")["step"] == step
    resumed = rf.fit(experiment, tmp_path / "stopped")
    for file in ("model.safetensors", "best.safetensors"):
        assert same_weights(tmp_path / "whole" / file, tmp_path / "stopped" / file)
    assert without_times(resumed.history) == without_times(whole.history)
    events = [line["event"] for line in read_lines(tmp_path / "stopped" / "events.jsonl")]
    assert len(events) == 2 and events[1] == "resumed"


def test_a_penalty_on_norms_goes_on_bit_by_bit_and_is_that_of_the_batch(small, after_step, same_weights, tmp_path):
    """Resumed: the same weights. In four passes a step: the same to rounding. Without it: other ones."""
    whole = small(steps=6, norms="learned", norm_penalty=0.01)
    ways = {"whole": whole, "passes": replace(whole, accumulation=4), "without": replace(whole, norm_penalty=0.0)}
    files = {name: rf.fit(experiment, tmp_path / name).path for name, experiment in ways.items()}
    after_step(3, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Stopped):
        rf.fit(whole, tmp_path / "stopped")
    assert same_weights(rf.fit(whole, tmp_path / "stopped").path, files["whole"])
    # what is learned; how often a vector is improved, a last digit can decide
    found = {name: {k: t for k, t in load_file(f).items() if not k.endswith("vector")} for name, f in files.items()}
    apart = {name: max(float((found["whole"][k] - t).abs().max()) for k, t in of.items()) for name, of in found.items()}
    assert apart["passes"] < 1e-5 < 1e-4 < apart["without"]


def test_the_test_above_could_fail(small, after_step, monkeypatch, same_weights, tmp_path):
    """One draw from the generator at the wrong time and the weights differ."""
    rf.fit(small(steps=10), tmp_path / "one")
    states, begin = [], training.begin
    monkeypatch.setattr(training, "begin", lambda *args, **named: states.append(begin(*args, **named)) or states[-1])
    after_step(5, lambda: torch.rand(1, generator=states[-1].draws))
    rf.fit(small(steps=10), tmp_path / "other")
    assert not same_weights(tmp_path / "one" / "model.safetensors", tmp_path / "other" / "model.safetensors")


def test_sigusr1_writes_a_checkpoint_and_training_goes_on(small, after_step, monkeypatch, tmp_path):
    saved = []
    monkeypatch.setattr(training, "save_state", lambda path, state, *_, **__: saved.append(state.step))
    after_step(22, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    assert rf.fit(small(steps=40), tmp_path).step == 40
    assert saved == sorted({*range(2, 41, 2), 23})


def killed_now_and_then(start, directory, kills, line, seed):
    """Train in processes that are killed, each at a random moment within `line` seconds after a new line of the record,
    until one gets through. What every kill left: (step of the checkpoint or 0, step of the last line)."""
    moments, left = random.Random(seed), []
    record, checkpoint = directory / "training.jsonl", directory / "checkpoint.safetensors"
    while True:
        process = start()
        lines = len(read_lines(record))
        if len(left) < kills:
            while process.poll() is None and len(read_lines(record)) <= lines:
                time.sleep(0.002)
            time.sleep(moments.uniform(0, line))
            process.kill()
        told, _ = process.communicate()
        if process.returncode == 0:
            return left
        assert process.returncode == -signal.SIGKILL, told
        saved = facts_of(checkpoint)["step"] if checkpoint.exists() else 0
        left.append((saved, read_lines(record)[-1]["step"]))


TASKS = [("Experiment", dict(validation=20)), ("ToyExperiment", dict(ema=0.9)), ("HybridExperiment", {})]


@pytest.mark.parametrize(("runs", "kills"), [(1, 2), pytest.param(4, 4, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("kind", "settings"), TASKS, ids=[kind for kind, _ in TASKS])
def test_killed_at_random_moments_nothing_is_lost(
    training_process, same_weights, tmp_path, kind, settings, runs, kills
):
    for seed in range(runs):
        whole, killed = tmp_path / f"{seed}", tmp_path / f"{seed}k"
        settings = settings | dict(seed=seed, steps=120)
        assert training_process(kind, whole, **settings).wait() == 0
        history = read_lines(whole / "training.jsonl")
        assert len(history) == 20
        start = partial(training_process, kind, killed, **settings)
        left = killed_now_and_then(start, killed, kills, history[-1]["seconds"] / 20, seed)
        assert len(left) == kills
        for file in ("model.safetensors", "best.safetensors") if settings.get("validation") else ("model.safetensors",):
            assert same_weights(whole / file, killed / file)
        assert without_times(read_lines(killed / "training.jsonl")) == without_times(history)
        # each went on from the checkpoint that lay there, and that is at most one line old
        told = read_lines(killed / "events.jsonl")
        resumed = [line["step"] for line in told if "variance" not in line["event"]]
        assert resumed == [saved for saved, _ in left if saved] and resumed
        assert all(0 <= last - saved <= 120 // 20 for saved, last in left)


def spoil(monkeypatch, step, how):
    """Make the training's loss bad from a given step on."""
    count, original = iter(range(1, 10**6)), density.bits_per_dim

    def bits(*args):
        value = original(*args)
        return how(value) if next(count) >= step else value

    monkeypatch.setattr(density, "bits_per_dim", bits)


BAD = {
    "the loss became nan at step 13: lower lr": lambda bits: bits * math.nan,
    "the loss became inf at step 13: lower lr": lambda bits: bits / 0,
    "the norm of the gradient became nan at step 13: lower lr": lambda bits: bits + (bits * 0).sqrt(),
}


@pytest.mark.parametrize("sentence", BAD)
def test_a_run_that_goes_astray_stops_with_its_last_good_checkpoint(small, monkeypatch, tmp_path, sentence):
    spoil(monkeypatch, 13, BAD[sentence])
    with pytest.raises(rf.ResflowError, match=sentence):
        rf.fit(small(steps=40), tmp_path)
    run = rf.load_run(tmp_path)
    assert run.step == 12 and run.weights == "unfinished"
    assert all(bool(p.isfinite().all()) for p in run.flow.parameters())
    (line,) = read_lines(tmp_path / "events.jsonl")
    # numbers are looked at where a line of the record is due: here after steps 12 and 14
    assert line["step"] == 14 and line["event"].startswith(sentence)
    assert [row["step"] for row in run.history] == [2, 4, 6, 8, 10, 12]
    result = rf.evaluate(run)
    entry = json.loads((tmp_path / "ledger.json").read_text())
    assert math.isfinite(result.bits_per_dim) and entry["steps"] == 12 and sentence in entry["failures"][0]
    assert entry["hardware"]["processes"] == 1 and entry["device_hours"] == entry["wall_seconds"] / 3600 > 0


def test_a_block_that_no_longer_contracts_stops_the_run(small, monkeypatch, tmp_path):
    original, calls = rf.ResidualBlock.measure_contraction_, []

    def measure(block, x):
        original(block, x)
        calls.append(block)
        if calls.count(calls[0]) == 5 and block is calls[0]:
            block.contraction = 1.02

    monkeypatch.setattr(rf.ResidualBlock, "measure_contraction_", measure)
    with pytest.raises(rf.ResflowError, match=r"step 8: no contraction, .*layers.2 \(1.020\).*Lower lr"):
        rf.fit(small(steps=40), tmp_path)
    assert rf.load_run(tmp_path).step == 6


def test_a_folder_with_other_settings_is_refused(small, after_step, tmp_path):
    rf.fit(small(steps=2), tmp_path / "finished")
    with pytest.raises(rf.SettingsError, match="holds a run with steps = 2: choose another folder"):
        rf.fit(small(steps=1), tmp_path / "finished")
    with pytest.raises(rf.SettingsError, match="holds a run with steps = 2, width = 8: choose another folder"):
        rf.fit(small(steps=3, width=9), tmp_path / "finished")
    after_step(3, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Stopped):
        rf.fit(small(steps=10), tmp_path)
    with pytest.raises(rf.SettingsError, match="holds a run with steps = 10: choose another folder"):
        rf.fit(small(steps=20), tmp_path)  # only a finished run may get more steps


def test_a_finished_run_gets_more_steps_from_where_it_ended(small, same_weights, tmp_path):
    """Without a fall of the rate, the run is the one that had so many steps from the beginning, but for its lines."""
    short, long = (small(steps=steps, warm_up=0, cool_down=0.0, validation=20) for steps in (20, 40))
    whole, rows = rf.fit(long, tmp_path / "whole"), []
    rf.evaluate(rf.fit(short, tmp_path / "run"))
    run = rf.fit(long, tmp_path / "run", on_record=rows.append)
    assert same_weights(tmp_path / "whole" / "model.safetensors", tmp_path / "run" / "model.safetensors")
    assert run.experiment == long and [row["step"] for row in rows] == list(range(22, 41, 2))
    assert [row["validation"] for row in rows] == [row["validation"] for row in whole.history[10:]]
    events = [line["event"] for line in read_lines(tmp_path / "run" / "events.jsonl")]
    assert events == ["resumed", "extended from 20 to 40 steps"]
    assert not (tmp_path / "run" / "ledger.json").exists()  # the old one was about 20 steps
    rf.evaluate(run)
    entry = json.loads((tmp_path / "run" / "ledger.json").read_text())
    assert entry["failures"][1] == "step 20: extended from 20 to 40 steps" and entry["settings"]["steps"] == 40
    with pytest.raises(rf.SettingsError, match="holds a run with steps = 40"):
        rf.fit(short, tmp_path / "run")


@pytest.mark.parametrize("kind", ["ToyExperiment", "HybridExperiment"])
def test_points_and_hybrids_get_more_steps_too(tiny, tmp_path, kind):
    def settings(**changes):
        return getattr(rf, kind)(**(tiny[kind] | changes))

    rf.fit(settings(steps=20), tmp_path)
    run = rf.fit(settings(steps=40), tmp_path)
    assert run.step == 40 and [row["step"] for row in run.history][-2:] == [38, 40]


def test_a_run_starts_from_the_weights_of_another(small, tmp_path):
    first = rf.fit(small(steps=20, lr=1e-2), tmp_path / "first")
    again = rf.fit(small(steps=20, lr=1e-5, law_parameter=0.4, seed=3), tmp_path / "second", source=tmp_path / "first")
    moved = max(float((a - b).detach().abs().max()) for a, b in zip(first.flow.parameters(), again.flow.parameters()))
    assert 0 < moved < 20 * 2e-5 and [row["step"] for row in again.history] == list(range(1, 21))
    told = f"starts from the weights of first, step 20 (last), sha256 {sha256(first.path)[:8]}"
    assert read_lines(tmp_path / "second" / "events.jsonl") == [dict(step=0, event=told)]
    rf.evaluate(again)
    assert json.loads((tmp_path / "second" / "ledger.json").read_text())["failures"] == [f"step 0: {told}"]
    with pytest.raises(rf.SettingsError, match="weights to start from are of a model of another size"):
        rf.fit(small(steps=2, width=9), tmp_path / "third", source=first)
    assert not (tmp_path / "third" / "experiment.json").exists()


def test_a_run_that_starts_from_another_and_is_stopped_goes_on(small, after_step, same_weights, tmp_path):
    first = rf.fit(small(steps=4), tmp_path / "first")
    rf.fit(small(steps=10, seed=1), tmp_path / "whole", source=first)
    after_step(5, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Stopped):
        rf.fit(small(steps=10, seed=1), tmp_path / "stopped", source=first)
    rf.fit(small(steps=10, seed=1), tmp_path / "stopped", source=first)
    assert same_weights(*(tmp_path / name / "model.safetensors" for name in ("whole", "stopped")))
    assert [line["event"][:6] for line in read_lines(tmp_path / "stopped" / "events.jsonl")] == [
        "starts",
        "SIGTER",
        "resume",
    ]


def test_a_line_of_the_record_says_how_the_training_goes(small, capsys, tmp_path):
    rows = []
    run = rf.fit(small(steps=40, law="geometric", law_parameter=0.9), tmp_path, on_record=rows.append)
    assert rows == run.history and [row["step"] for row in rows] == list(range(2, 41, 2))
    for before, row in zip(rows, rows[1:]):
        speed = 2 / (row["seconds"] - before["seconds"])
        assert row["per_second"] == pytest.approx(32 * speed) and 0 < row["gradient_norm"] < math.inf
        assert row["seconds_left"] == pytest.approx((40 - row["step"]) / speed)
    # two exact terms and a roulette that goes on with probability 0.1: 2 + 1/9 on average, over 40 draws
    assert abs(sum(row["terms"] for row in rows) / 20 - (2 + 1 / 9)) < 4 * (0.1 / 0.81 / 40) ** 0.5
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
    assert len(told) == 10 and told[0].startswith("step     4 of 40  ") and told[0].endswith(" s left")


def test_a_folder_that_is_older_than_a_setting_is_accepted_and_one_that_differs_is_not(tiny, tmp_path):
    """What the file does not have yet had its usual value: no other one."""
    for kind in tiny:
        experiment, folder = getattr(rf, kind)(**tiny[kind] | dict(steps=2)), tmp_path / kind
        rf.fit(experiment, folder)
        path = folder / "experiment.json"
        told = json.loads(path.read_text())
        for name in ("betas", "clip", "accumulation", "norm_tolerance", "weight_decay", "ema"):
            del told[name]
        path.write_text(json.dumps(told))
        assert rf.fit(experiment, folder).step == 2
        with pytest.raises(rf.SettingsError, match=r"holds a run with betas = \[0.9, 0.99\]"):
            rf.fit(replace(experiment, betas=(0.9, 0.999)), folder)


def test_a_finished_run_is_returned_as_it_is(small, tmp_path):
    first = rf.fit(small(steps=2), tmp_path)
    before = (tmp_path / "model.safetensors").stat().st_mtime_ns
    again = rf.fit(small(steps=2), tmp_path)
    assert (tmp_path / "model.safetensors").stat().st_mtime_ns == before
    assert again.history == first.history and again.step == 2


def test_two_writers_in_one_folder_are_refused(small, tmp_path):
    assert not being_trained(tmp_path)
    with sole_writer(tmp_path):
        assert being_trained(tmp_path)
        with pytest.raises(rf.SettingsError, match="another process is training there"):
            rf.fit(small(), tmp_path)
    assert not being_trained(tmp_path)


def test_a_run_can_be_read_while_it_is_written(small, after_step, tmp_path):
    """A reader sees whole lines and the last checkpoint."""
    seen = []
    after_step(13, lambda: seen.append((rf.load_run(tmp_path), being_trained(tmp_path))))
    rf.fit(small(steps=40), tmp_path)
    ((run, trained),) = seen
    assert trained and run.weights == "unfinished" and run.step == 12 and run.history[-1]["step"] == 12
    record = tmp_path / "training.jsonl"
    record.write_text(record.read_text() + '{"step": 41, "bits_p')
    assert rf.load_run(tmp_path).history[-1]["step"] == 40


def test_nothing_goes_on_from_a_checkpoint_that_was_cut_off(small, after_step, tmp_path):
    after_step(5, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Stopped):
        rf.fit(small(steps=10), tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(rf.DataError, match="checkpoint.safetensors is not a readable"):
        rf.fit(small(steps=10), tmp_path)


def test_handlers_of_signals_are_given_back(small, tmp_path):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR1)
    rf.fit(small(steps=1), tmp_path)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR1)) == before
