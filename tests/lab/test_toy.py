"""The protocol of the plane: entries, exact densities, what truncated training reports, refused settings."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

import resflow_lite as rf
from resflow_lite.lab.checkpoints import load_toy
from resflow_lite.lab.ledger import validate_entry
from resflow_lite.lab.machine import World
from resflow_lite.lab.scoring import error_bars
from resflow_lite.lab.tasks.plane import STEPS, Plane, point_nats
from resflow_lite.lab.tasks.task import Question
from resflow_lite.lab.training import train_toy
from resflow_lite.models.flow import standard_normal_log_prob

RESIDUAL = ("iresnet", "resflow")


def smoke(**settings):
    return rf.ToyExperiment(**(dict(profile="smoke", dataset="moons", steps=3, points=60) | settings))


def scores_of(experiment, flow):
    world = World(0, 1, torch.device("cpu"))
    return Plane(experiment, world).score(flow, Question(world))


@pytest.mark.parametrize("system", rf.systems)
def test_a_run_leaves_an_entry_and_a_model(system, tmp_path):
    experiment = smoke(system=system)
    entry = rf.run_toy(experiment, tmp_path)
    validate_entry(entry)
    assert entry == json.loads((tmp_path / "ledger.json").read_text())
    assert (entry["task"], entry["steps"], entry["images_seen"], entry["n_test"]) == ("toy", 3, 3 * 64, 60)
    assert entry["settings"] == json.loads(json.dumps(experiment.as_dict()))
    assert abs(entry["parameters"] / experiment.parameters - 1) < 0.05
    assert 0 < entry["cpu_seconds"] and entry["reconstruction_error"] < 1e-3
    residual = system in RESIDUAL
    for name in ("lipschitz_bound", "estimated_nats", "estimator_error"):
        assert (entry[name] is not None) == residual, name
    assert entry["lipschitz_bound"] < 1 if residual else entry["objective"] == entry["nats"]
    flow, settings = load_toy(tmp_path / "model.safetensors")
    assert settings == experiment
    assert scores_of(experiment, flow)["nats"] == pytest.approx(entry["nats"], abs=1e-6)


def test_residual_blocks_train_with_the_estimator_that_is_asked_for_and_a_file_gives_it_back():
    asked = rf.PowerSeries(rf.Truncated(1))
    experiment = smoke(train_estimator=repr(asked))
    flow = experiment.build()
    blocks = [m for m in flow.modules() if isinstance(m, rf.ResidualBlock)]
    assert {block.train_estimator for block in blocks} == {asked} == {experiment.train_estimator}
    usual = rf.toy_system("resflow", experiment.parameters, experiment.n_blocks)
    assert {m.train_estimator for m in usual.modules() if isinstance(m, rf.ResidualBlock)} != {asked}
    assert rf.ToyExperiment.from_record(experiment.as_json()) == experiment


def test_an_estimator_is_refused_where_no_block_would_use_it():
    for settings in (dict(system="glow", train_estimator="truncated"), dict(train_estimator="truncted")):
        with pytest.raises(rf.SettingsError, match="train_estimator = "):
            smoke(**settings)


@pytest.mark.parametrize("system", rf.systems)
def test_nats_are_those_of_the_exact_jacobian(system):
    flow, _ = train_toy(smoke(system=system))
    flow, x = flow.double(), rf.toy_data("moons", 20, torch.Generator().manual_seed(3)).double()
    jacobian = torch.autograd.functional.jacobian(lambda rows: flow.bijection.transform(rows).sum(0), x)
    truth = standard_normal_log_prob(flow.bijection.transform(x)) + torch.linalg.slogdet(jacobian.transpose(0, 1))[1]
    error = (point_nats(flow, x, rf.Exact()) - truth).abs().max()
    assert error < (1e-3 if system == "ffjord" else 1e-9)


@pytest.mark.parametrize("system", RESIDUAL)
def test_the_objective_shows_the_bias_of_a_truncated_series_and_no_other(system):
    experiment = smoke(system=system, n_blocks=4, points=1000)
    flow = experiment.build()
    flow.initialize_(rf.toy_data("moons", 500, torch.Generator().manual_seed(0)))
    with torch.no_grad():
        for block in (m for m in flow.modules() if isinstance(m, rf.ResidualBlock)):
            for sign, layer in zip((1, 1, -1), block.branch.steps[::2]):
                layer.weight.fill_(sign)  # shrinks one direction as far as the layers' coeff allows
    rf.update_norms_(flow)
    scores = scores_of(experiment, flow.eval())
    assert abs(scores["estimated_nats"] - scores["nats"]) < 4 * scores["estimator_error"] < 0.3
    block = next(m for m in flow.modules() if isinstance(m, rf.ResidualBlock))
    estimator = replace(block.train_estimator, n_probes=20)  # the same mean with less noise
    x, generator = rf.toy_data("moons", 1000, torch.Generator().manual_seed(1)), torch.Generator().manual_seed(2)
    passes = torch.stack([point_nats(flow, x, estimator, generator) for _ in range(20)])
    z_score = float(passes.mean() - point_nats(flow, x, rf.Exact()).mean()) / error_bars(passes)["noise_error"]
    assert z_score > 8 if system == "iresnet" else abs(z_score) < 4


def test_a_finished_run_is_not_repeated_and_others_are_refused(tmp_path):
    entry = rf.run_toy(smoke(system="realnvp"), tmp_path)
    (tmp_path / "model.safetensors").unlink()
    assert rf.run_toy(smoke(system="realnvp"), tmp_path) == entry
    assert not (tmp_path / "model.safetensors").exists()
    with pytest.raises(rf.SettingsError, match="holds a run with seed = 0"):
        rf.run_toy(smoke(system="realnvp", seed=1), tmp_path)


def test_the_seed_decides_everything_and_the_points_stay_the_same(tmp_path):
    entries = [rf.run_toy(smoke(seed=seed), tmp_path / name) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    first, again, other = entries
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in "ab")
    assert all(torch.equal(one[name].nan_to_num(), two[name].nan_to_num()) for name in one)
    assert first["nats"] == again["nats"] != other["nats"]
    assert first["data_sha256"] == other["data_sha256"]


def test_training_raises_the_likelihood():
    flow, history = train_toy(smoke(system="realnvp", steps=60))
    losses = torch.tensor([loss for _, loss in history])
    assert losses[-10:].mean() < losses[:10].mean() - 0.1
    seconds = [at for at, _ in history]
    assert seconds == sorted(seconds)


def test_a_loss_that_is_not_finite_ends_the_run():
    calls = []

    def far(n, generator):  # after the first points, which the ActNorms are set by
        calls.append(n)
        return rf.toy_data("moons", n, generator) * (1.0 if len(calls) == 1 else 1e30)

    with pytest.raises(rf.ResflowError, match="at step 1: lower lr"):
        train_toy(smoke(dataset=far, system="realnvp"))


def test_points_at_infinity_are_refused_before_the_first_step():
    def infinite(n, generator):
        return rf.toy_data("moons", n, generator) * float("inf")

    with pytest.raises(rf.DataError, match="128 entries of 128"):
        train_toy(smoke(dataset=infinite, system="realnvp"))


WRONG = [
    (dict(dataset="board"), "dataset = 'board': expected one of checkerboard"),
    (dict(system="vae"), "system = 'vae': expected one of realnvp"),
    (dict(profile="fast"), "profile = 'fast': expected one of smoke"),
    (dict(steps=0), "steps = 0: expected a whole number from 1"),
    (dict(steps=True), "steps = True"),
    (dict(points=1), "points = 1: expected a whole number from 2"),
    (dict(seed=-1), "seed = -1"),
    (dict(seed=2**63), "seed = 9223372036854775808: expected .* to 2\\^63 - 1"),
    (dict(system=["resflow"]), "system = "),
    (dict(system={1: 2}), "system = {1: 2}"),
    (dict(dataset=dict), "dataset = the class dict"),
    (dict(n_blocks=10**6), "n_blocks = 1000000: expected .* to 1,000"),
    (dict(points=10**11), "points = 100000000000: expected .* to 100,000,000"),
    (dict(system="glow", parameters=3), "the closest model has"),
    (dict(lr=1.5), "lr = 1.5: expected a number between 0 and 1"),
    (dict(lr="fast"), "lr = 'fast'"),
    (dict(sytem="glow"), "unknown parameter 'sytem': did you mean 'system'"),
]


@pytest.mark.parametrize(("settings", "sentence"), WRONG, ids=[sentence for _, sentence in WRONG])
def test_wrong_settings_are_refused(settings, sentence):
    with pytest.raises(rf.SettingsError, match=sentence):
        rf.ToyExperiment.from_parameters(settings)


def test_profiles_and_settings_that_come_as_text():
    assert rf.ToyExperiment.from_parameters(dict(lr="1e-3")).lr == 1e-3
    assert {system: rf.ToyExperiment(system=system).steps for system in rf.systems} == STEPS
    assert rf.ToyExperiment(profile="paper").steps == 50_000
    experiment = rf.ToyExperiment(system="glow", lr=2e-3)
    assert rf.ToyExperiment.from_parameters(json.loads(json.dumps(experiment.as_dict()))) == experiment


def test_a_file_that_is_no_model_is_refused(tmp_path):
    save_file(dict(a=torch.zeros(1)), tmp_path / "model.safetensors")
    with pytest.raises(rf.DataError, match="not a readable flow checkpoint"):
        load_toy(tmp_path / "model.safetensors")
    assert load_file(tmp_path / "model.safetensors")["a"] == 0
