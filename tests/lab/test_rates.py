"""Learning rates of sweeps: four for every setting, the best inside, chosen on data that no score uses."""

import json
import math

import pytest
import torch

import resflow_lite as rf
from resflow_lite.__main__ import main
from resflow_lite.lab.machine import connect
from resflow_lite.lab.rates import LADDER, WIDE, chosen_rates, window
from resflow_lite.lab.sweeps import MEASUREMENTS, planned, rates_file, sweep_names
from resflow_lite.lab.tasks.plane import TEST_SEED, VALIDATION_SEED
from resflow_lite.lab.tasks.registry import task_of

RATED = [name for name in sweep_names("laptop") if rates_file(name, "laptop")]


@pytest.mark.parametrize(("best", "tried"), [(1.1e-2, LADDER[3:7]), (9e-3, LADDER[2:6]), (1e-1, LADDER[4:8])])
def test_the_rates_climb_until_the_best_is_inside(best, tried):
    asked = []

    def loss(rate):
        asked.append(rate)
        return abs(math.log(rate / best))

    found = window(loss)
    assert sorted(asked) == list(tried) == list(found)  # each rate once
    nearest = min(LADDER, key=lambda rate: abs(math.log(rate / best)))
    assert min(found, key=found.get) == nearest and min(found) < nearest < max(found)


def test_the_rates_end_where_the_ladder_does_and_where_nothing_trains():
    assert list(window(lambda rate: -rate)) == list(LADDER[4:])
    assert list(window(lambda rate: rate)) == list(LADDER[:6])
    assert len(window(lambda rate: math.inf)) >= WIDE


@pytest.mark.parametrize("name", RATED)
def test_no_rate_of_the_repository_stands_at_the_edge_of_its_grid(name):
    """And every setting chose from as many: WIDE neighbours on the ladder that hold the best with one to each side."""
    trials = json.loads(rates_file(name, "laptop").read_text())["trials"]
    for run in planned(name, "laptop"):
        losses = {float(rate): loss for rate, loss in trials[run.setting][run.experiment.dataset]["losses"].items()}
        rates = sorted(losses)
        assert run.experiment.lr == min((r for r in rates if losses[r] is not None), key=losses.get)
        assert rates == list(LADDER[LADDER.index(rates[0]) : LADDER.index(rates[0]) + len(rates)])
        assert len(rates) >= WIDE and rates[0] < run.experiment.lr < rates[-1]


@pytest.mark.parametrize("name", RATED)
def test_the_trials_have_a_seed_and_data_of_their_own(name):
    assert all(run.experiment.seed != 9 for run in planned(name, "laptop"))
    assert VALIDATION_SEED != TEST_SEED


def test_the_plane_validates_on_other_points_than_it_scores():
    experiment = rf.ToyExperiment(profile="smoke")
    task, flow = task_of(experiment, connect("cpu")), experiment.build().eval()
    x = rf.toy_data("checkerboard", 1000, torch.Generator().manual_seed(VALIDATION_SEED))
    with torch.no_grad():
        assert task.validate(flow) == pytest.approx(-float(flow.log_prob(x).mean()), abs=0.05)
    exact = torch.stack([p.abs().sum() for p in flow.parameters()])
    assert task.validate(flow) == task.validate(flow) and exact.isfinite().all()


TINY = dict(steps=40, batch_size=32, parameters=2_000, n_blocks=2, points=100)


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """A sweep of two systems whose trials take seconds."""
    monkeypatch.setattr("resflow_lite.lab.sweeps.MEASUREMENTS", tmp_path)
    path = tmp_path / "small.yaml"
    text = dict(task="toy", datasets=["moons"], seeds=[0], profiles=dict(smoke=TINY | dict(rates="found.json")))
    path.write_text(json.dumps(text | dict(settings=dict(realnvp=dict(system="realnvp")))))
    return path


def test_trials_are_made_once_and_planned_takes_the_best(sweep, tmp_path, capsys):
    with pytest.raises(rf.DataError, match=r"found\.json"):
        planned(sweep, "smoke")
    assert main(["reproduce", str(sweep), "--profile", "smoke", "--rates"]) == 0
    assert "realnvp        moons" in capsys.readouterr().out
    written = (tmp_path / "found.json").read_text()
    losses = json.loads(written)["trials"]["realnvp"]["moons"]["losses"]
    (run,) = planned(sweep, "smoke")
    assert run.experiment.lr == min(map(float, losses), key=lambda rate: losses[f"{rate:g}"])
    assert main(["reproduce", str(sweep), "--profile", "smoke", "--rates"]) == 0
    assert (tmp_path / "found.json").read_text() == written and "moons  " not in capsys.readouterr().out


@pytest.mark.parametrize(
    "content", ["{}", "[1]", '{"trials": {"realnvp": 3}}', '{"trials": {"a": {"b": {"losses": {}}}}}']
)
def test_a_file_that_holds_no_trials_is_refused_by_name(sweep, tmp_path, content):
    (tmp_path / "found.json").write_text(content)
    with pytest.raises(rf.DataError, match=r"found\.json"):
        planned(sweep, "smoke")


def test_a_rate_that_is_given_and_chosen_and_a_setting_without_trials_are_refused(sweep, tmp_path):
    other = dict(trials=dict(glow=dict(moons=dict(losses={"0.01": 1.0}))))
    (tmp_path / "found.json").write_text(json.dumps(other))
    with pytest.raises(rf.SettingsError, match="setting realnvp: no trial chose its rate on moons"):
        planned(sweep, "smoke")
    sweep.write_text(sweep.read_text().replace('"system": "realnvp"', '"system": "realnvp", "lr": 0.1'))
    with pytest.raises(rf.SettingsError, match="lr = 0.1: rates gives it to every run, leave it out"):
        planned(sweep, "smoke")


def test_a_training_that_went_astray_has_no_loss_and_is_never_chosen(tmp_path):
    path = tmp_path / "found.json"
    path.write_text(json.dumps(dict(trials=dict(a=dict(moons=dict(losses={"0.1": None, "0.01": 2.0}))))))
    assert chosen_rates(path) == {("a", "moons"): 0.01}


def test_the_files_of_trials_are_in_the_checkout():
    assert RATED and all(rates_file(name, "laptop").parent == MEASUREMENTS for name in RATED)
