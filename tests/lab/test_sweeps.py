"""A YAML file becomes runs: checked first, costed, interrupted, resumed, added up."""

import json
import os
import signal
import statistics
import subprocess
import sys
import time

import pytest
import torch
import yaml

import resflow_lite as rf
import resflow_lite.lab.reproduction as reproduction
import resflow_lite.lab.sweeps as sweeps
from resflow_lite.__main__ import main
from resflow_lite.lab.files import read_lines
from resflow_lite.lab.ledger import read_entries, validate_entry
from resflow_lite.lab.machine import being_trained
from resflow_lite.lab.names import PROFILES
from resflow_lite.lab.sweeps import by_settings, planned, published, sweep_names
from resflow_lite.lab.tasks.registry import completed

SMALL = dict(steps=3, batch_size=32, blocks=[1], width=8, n_dense=0, warm_up=2, validation=0, evaluations=1)
SETTINGS = dict(lipswish={}, elu=dict(train_estimator="truncated"))


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """Writes a sweep of tiny runs below a home of its own; its path."""
    monkeypatch.setenv("RESFLOW_HOME", str(tmp_path))

    def write(**changes):
        content = dict(task="density", seeds=[0, 1], profiles=dict(smoke=SMALL), settings=SETTINGS) | changes
        path = tmp_path / "small.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    return write


def test_settings_seeds_and_data_sets_become_runs(sweep, tmp_path):
    own = dict(smoke=SMALL | dict(seeds=[3, 4], settings=dict(elu=dict(steps=7))))
    runs = planned(sweep(profiles=own, datasets=["digits"]), "smoke")
    assert [run.directory.name for run in runs] == ["lipswish-seed3", "lipswish-seed4", "elu-seed3", "elu-seed4"]
    assert {run.directory.parent for run in runs} == {tmp_path / "runs" / "small-smoke"}
    assert [run.experiment.steps for run in runs] == [3, 3, 7, 7] and [run.index for run in runs] == [0, 1, 2, 3]
    assert runs[3].experiment == rf.Experiment.from_parameters(
        SMALL | dict(profile="smoke", seed=4, steps=7, train_estimator="truncated")
    )
    both = planned(sweep(datasets=["digits", "mnist"], seeds=[0]), "smoke")
    assert [run.directory.name for run in both][:2] == ["lipswish-digits-seed0", "lipswish-mnist-seed0"]
    assert [run.experiment.dataset for run in both] == ["digits", "mnist"] * 2


def test_a_profile_runs_the_settings_that_it_names_and_a_sweep_has_the_profiles_that_it_names(sweep):
    path = sweep(profiles=dict(smoke=SMALL | dict(only=["elu"])), seeds=[0])
    assert [run.setting for run in planned(path, "smoke")] == ["elu"]
    assert set(sweep_names("paper")) < set(sweep_names()) == set(sweep_names("smoke"))
    assert "systems" in sweep_names("paper") and "systems_steps" not in sweep_names("paper")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (dict(seed=[0]), "unknown key 'seed': did you mean 'seeds'"),
        (dict(task="densty"), "task = 'densty': expected one of density, toy, hybrid"),
        (dict(seeds=[]), r"seeds = \[\]: expected a list without repetition"),
        (dict(seeds=[0, 0]), "without repetition"),
        (dict(seeds=["a"]), "setting lipswish: seed = 'a'"),
        (dict(profiles=dict(smok=SMALL)), "unknown key 'smok': did you mean 'smoke'"),
        (dict(profiles=dict(smoke=None)), "profiles: smoke: expected a mapping"),
        (dict(profiles=dict(paper={})), "small.yaml has no profile 'smoke': expected one of paper"),
        (dict(profiles=dict(smoke=dict(only=["elv"]))), "only: unknown key 'elv': did you mean 'elu'"),
        (dict(profiles=dict(smoke=dict(only="elu"))), "only = 'elu': expected a list"),
        (dict(profiles=dict(smoke=SMALL | dict(widht=3))), "unknown parameter 'widht': did you mean 'width'"),
        (dict(profiles=dict(smoke=dict(settings=dict(el=dict(steps=1))))), "unknown key 'el': did you mean 'elu'"),
        (dict(settings=dict(elu=dict(lr=-1))), "setting elu: lr = -1"),
        (dict(settings={"../elu": {}}), "its name becomes a folder's"),
        (dict(datasets=["mnits"]), "dataset = 'mnits'"),
        (dict(task=["toy"]), r"task = \['toy'\]: expected one of"),
        (dict(task={}), "task = {}"),
        (dict(seeds=[2**63]), "setting lipswish: seed = 9223372036854775808: expected .* to 2\\^63 - 1"),
        (dict(seeds=[True]), "seed = True"),
        (dict(settings=dict(relu=dict(activation=["relu"]))), r"activation = \('relu',\)"),
        (dict(settings=dict(relu=dict(system=dict(b=1)))), "system = {'b': 1}"),
        (dict(settings=dict(relu=dict(profile="paper"))), "profile = 'paper': --profile gives it to every run"),
        (dict(settings=dict(relu=dict(seed=4))), "seed = 4: seeds gives it to every run"),
        (dict(settings=dict(relu=dict(dataset="digits")), datasets=["digits"]), "datasets gives it to every run"),
        (dict(settings=dict(relu={7: 1})), "unknown parameter 7"),
        (dict(settings=dict(relu={None: 1})), "unknown parameter None"),
        (dict(profiles=dict(smoke={}), settings=dict(deep=dict(blocks=[1] * 6))), "cannot be halved 5 times"),
        (dict(profiles=dict(smoke={}), settings=dict(g=dict(system="glow", parameters=50))), "the closest model has"),
        (dict(seeds=[1, 1.0]), "two runs would have the folder lipswish-seed1"),
        (dict(datasets=["folder:/a/b", "folder:/c/b"]), "two runs would have the folder lipswish-"),
        (dict(settings={"a" * 101: {}}), "its name becomes a folder's"),
        (dict(settings=dict(relu=dict(n_dense=10**7))), "n_dense = 10000000: expected .* to 1,000"),
    ],
)
def test_whatever_is_wrong_is_refused_before_anything_trains(sweep, tmp_path, changes, told, capsys):
    path = sweep(**changes)
    with pytest.raises(rf.SettingsError, match=told):
        planned(path, "smoke")
    assert main(["reproduce", str(path), "--profile", "smoke"]) == 2
    assert not (tmp_path / "runs").exists()


def test_a_sweep_that_is_not_there_and_a_file_that_is_no_sweep(tmp_path):
    with pytest.raises(rf.SettingsError, match="there is no sweep .*ablation"):
        planned("ablaton", "smoke")
    bomb = "\n".join(["a0: &a0 [1, 1]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40)), "seeds: *a39"])
    texts = ["a: [", "- 1", "task: toy", bomb, "seeds: " + "[" * 50_000, "task: toy\ntask: hybrid"]
    for content in [*(text.encode() for text in texts), "task: tö".encode("latin-1"), "task: toy".encode("utf-16")]:
        (tmp_path / "bad.yaml").write_bytes(content)
        with pytest.raises(rf.SettingsError, match="bad.yaml"):
            planned(tmp_path / "bad.yaml", "smoke")


@pytest.mark.parametrize(("name", "profile"), [(name, p) for p in PROFILES for name in sweep_names(p)])
def test_the_sweeps_of_the_repository_are_valid(name, profile):
    runs = planned(name, profile)
    assert len({run.directory for run in runs}) == len(runs) > 1
    assert {run.experiment.profile for run in runs} == {profile}


def test_the_cost_is_told_before_anything_starts_and_the_table_after(sweep, tmp_path, capsys, monkeypatch, printed):
    path, carry_out = sweep(seeds=[0, 1]), reproduction.carry_out
    said_before = []
    monkeypatch.setattr(
        "resflow_lite.lab.commands.carry_out",
        lambda *args: said_before.append(capsys.readouterr().out) or carry_out(*args),
    )
    assert main(["reproduce", str(path), "--profile", "smoke", "--publish"]) == 0
    assert "2 runs,   0 finished, about" in said_before[0] and "(timed)" in said_before[0]
    assert "hours of one worker" in said_before[0] and "bits/dim  " not in said_before[0]  # no word of the trial itself
    told = capsys.readouterr().out
    runs = planned(path, "smoke")
    bits = [run.entry["bits_per_dim"] for run in runs]
    rows = reproduction.comparisons(runs)["small", "digits", "bits_per_dim"]
    assert all(str(row) in told for row in rows) and [row.name for row in rows] == ["lipswish", "elu"]
    assert rows[0].mean == pytest.approx((bits[0] + bits[1]) / 2)
    assert rows[1].difference == pytest.approx((bits[2] + bits[3] - bits[0] - bits[1]) / 2)
    entries = sorted((tmp_path / "data" / "results" / "small").glob("*.json"))
    assert len(entries) == 4 and entries[0].name.startswith("digits-elu-smoke-seed0-")
    for run in runs:
        validate_entry(run.entry)
        assert f"reproduce small.yaml --profile smoke --index {run.index}" in run.entry["command"]
    # a run that is repeated has the same score, and is not counted twice; another score is
    again = runs[0].directory / "ledger.json"
    again.write_text(json.dumps(runs[0].entry | dict(checkpoint_sha256="0" * 64)))
    assert reproduction.publish_entries(runs) == []
    before = again.read_text()
    again.write_text(json.dumps(runs[0].entry | dict(bits_per_dim=bits[0] + 1e-3)))
    assert len(reproduction.publish_entries(runs)) == 1
    again.write_text(before)
    # now the ledger knows what it costs
    assert "2 finished, about" in reproduction.estimate(runs, 2) and "(ledger)" in reproduction.estimate(runs, 2)
    longer = planned(sweep(profiles=dict(smoke=SMALL | dict(steps=3000)), seeds=[5]), "smoke")
    lipswish, elu = reproduction.costs(longer)
    assert lipswish.left == elu.left == 1
    for cost, estimator in ((lipswish, "stratified"), (elu, "truncated")):
        entries = [e for e in read_entries(tmp_path / "data") if e["settings"]["train_estimator"] == estimator]
        assert len(entries) == (3 if cost is lipswish else 2)  # one run has two scores in the ledger
        assert cost.each == pytest.approx(statistics.mean(e["wall_seconds"] for e in entries) / 3 * 3000)
    hours = printed(reproduction.estimate(longer, 1), "to train:")
    assert abs(hours - (lipswish.each + elu.each) / 3600) < 5.1e-3


def test_the_list_trains_nothing(sweep, tmp_path, capsys):
    assert main(["reproduce", str(sweep()), "--profile", "smoke", "--list"]) == 0
    told = capsys.readouterr().out
    assert "   3 -         small-smoke/elu-seed1" in told and "4 runs of unknown cost" in told
    assert not (tmp_path / "runs").exists()


def test_an_index_is_exactly_one_run(sweep, capsys):
    path = sweep()
    assert main(["reproduce", str(path), "--profile", "smoke", "--index", "2"]) == 0
    assert [run.entry is not None for run in planned(path, "smoke")] == [False, False, True, False]
    assert "elu-seed0: bits_per_dim" in capsys.readouterr().out
    assert main(["reproduce", str(path), "--profile", "smoke", "--index", "4"]) == 2
    assert main(["reproduce", str(path), "--profile", "smoke", "--index", "2", "--list"]) == 2  # it trained
    assert "expected one sweep, and one of its 4 runs" in capsys.readouterr().err


def test_a_run_that_fails_does_not_stop_the_others_and_is_named(sweep, capsys):
    path = sweep(settings=dict(wild={}, tame={}), seeds=[0])
    wild, tame = planned(path, "smoke")
    wild.directory.mkdir(parents=True)
    (wild.directory / "experiment.json").write_text(json.dumps(wild.experiment.as_dict() | dict(width=9)))
    assert main(["reproduce", str(path), "--profile", "smoke"]) == 1
    caught = capsys.readouterr()
    assert f"1 of 2 runs failed: small-smoke/wild-seed0 ({wild.directory / 'log.txt'})" in caught.err
    assert "FAILED" in caught.out and "holds a run with width = 9" in caught.out
    assert tame.entry and not wild.entry


def test_data_that_nobody_can_download_is_missed_before_anything_trains(sweep, tmp_path):
    runs = planned(sweep(datasets=["digits", "imagenet64"]), "smoke")
    with pytest.raises(rf.DataError, match="imagenet64"):
        reproduction.carry_out(runs, 1)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_interrupted_sweep_goes_on_and_gives_the_same(sweep, tmp_path, same_weights, number, monkeypatch):
    path = sweep(settings=dict(short={}, long=dict(steps=200)), seeds=[0])
    short, long = planned(path, "smoke")
    short.carry_out()
    before = (short.directory / "ledger.json").read_bytes()
    line = [sys.executable, "-m", "resflow_lite", "reproduce", str(path), "--profile", "smoke", "--workers", "1"]
    process = subprocess.Popen(line, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE)
    wait_for(lambda: (long.directory / "checkpoint.safetensors").exists())
    process.send_signal(number)
    assert process.wait() == {signal.SIGKILL: -9, signal.SIGTERM: 143}[number]
    wait_for(lambda: not being_trained(long.directory))  # nobody goes on behind our back
    assert not (long.directory / "model.safetensors").exists()

    reproduction.carry_out([short, long], 2)
    assert (short.directory / "ledger.json").read_bytes() == before
    (event,) = [e for e in read_lines(long.directory / "events.jsonl") if e["event"] == "resumed"]
    assert 0 < event["step"] < 200

    monkeypatch.setenv("RESFLOW_HOME", str(tmp_path / "whole"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as runs of a sweep
    whole = planned(path, "smoke")[1]
    whole.carry_out()
    torch.set_num_threads(threads)
    assert same_weights(whole.directory / "model.safetensors", long.directory / "model.safetensors")
    assert whole.entry["bits_per_dim"] == long.entry["bits_per_dim"]


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_an_entry_without_a_setting_stands_for_the_usual_value(sweep):
    """Entries of the ledger that are older than a setting are not taken for runs that change it."""
    changed = dict(bf16=dict(precision="bf16"), usual={})
    bf16, usual = planned(sweep(settings=changed, seeds=[0]), "smoke")
    settings = json.loads(json.dumps(usual.experiment.as_dict()))
    del settings["precision"]
    entry = dict(settings=settings, seed=0)
    other = dict(settings=settings | dict(seed=1), seed=1)
    found = by_settings([entry, entry | dict(task="toy"), other])
    assert found[usual.key()] == [entry] and bf16.key() not in found
    assert by_settings([other], ("seed",))[usual.key(("seed",))] == [other]


def test_the_settings_of_an_entry_are_completed_once_however_many_runs_there_are(sweep, monkeypatch):
    """Once for each of 3,000 settings kept a list waiting for minutes."""
    runs = planned(sweep(settings={f"s{i}": dict(width=8 + i) for i in range(20)}, seeds=[0, 1]), "smoke")
    settings, asked = runs[3].experiment.as_json(), []
    entries = [dict(settings=settings | dict(seed=seed), wall_seconds=20.0, steps=10) for seed in range(5)]
    monkeypatch.setattr(sweeps, "completed", lambda *told: asked.append(told) or completed(*told))
    monkeypatch.setattr(reproduction, "read_entries", lambda: entries)
    found = reproduction.costs(runs, measure=False)
    assert len(asked) == len(entries)
    assert [cost.each for cost in found] == [2.0 * runs[2].experiment.steps if i == 1 else None for i in range(20)]


def test_published_entries_are_those_of_the_sweep():
    assert published(planned("ablation", "smoke")) == {}
    runs = planned("ablation", "laptop")
    for index, entry in published(runs).items():
        assert entry["settings"]["train_estimator"] == runs[index].experiment.as_dict()["train_estimator"]
        assert entry["seed"] == runs[index].experiment.seed


@pytest.mark.parametrize("content", ["", "{}", "5", '{"commit": "a'])
def test_a_run_whose_entry_is_damaged_is_named_in_the_list(sweep, capsys, content):
    path = sweep()
    entry = planned(path, "smoke")[1].directory / "ledger.json"
    entry.parent.mkdir(parents=True)
    entry.write_text(content)
    assert main(["reproduce", str(path), "--profile", "smoke", "--list"]) == 2
    told = capsys.readouterr().err
    assert str(entry) in told and len(told.splitlines()) == 1
