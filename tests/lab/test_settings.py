"""Every setting reaches what it is about; and what a run's files say of objects that are not in them."""

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch

import resflow_lite as rf
from resflow_lite.lab.costs import StepCosts
from resflow_lite.lab.evaluation import sample_levels
from resflow_lite.lab.machine import World
from resflow_lite.lab.runs import claim
from resflow_lite.lab.stages import begin
from resflow_lite.lab.tasks.batches import epochs
from resflow_lite.lab.tasks.density import Density
from resflow_lite.lab.tasks.registry import TASKS
from resflow_lite.lab.tasks.words import Unknown, rebuilt

CPU = World(0, 1, torch.device("cpu"))


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_every_setting_has_a_line_of_help_and_a_type(task):
    for field in dataclasses.fields(task.settings):
        told = field.metadata["help"]
        assert told and "\n" not in told and len(told) < 130 and field.type is not None, field.name


MODEL = dict(coeff=0.7, alpha=0.01, squeeze_first=True, factor_out=True, padding=3, blocks=(1, 1))


def test_settings_of_the_model_reach_the_model():
    experiment = rf.Experiment(**MODEL, eval_exact=7, n_probes=3, probe="gaussian", n_exact=4)
    model = experiment.model((1, 8, 8))
    assert {name: getattr(model, name) for name in MODEL} == MODEL
    assert model.train_estimator == rf.PowerSeries(rf.Roulette(rf.Geometric(0.5), 4, S), "gaussian", 3)
    assert model.eval_estimator == rf.PowerSeries(rf.Roulette(rf.Geometric(0.5), 7))
    assert rf.Experiment(eval_estimator=rf.Krylov(9)).model((1, 8, 8)).eval_estimator == rf.Krylov(9)


def test_settings_of_the_optimiser_reach_it(small, monkeypatch):
    experiment = small(betas=[0.5, 0.6], weight_decay=0.25, norm_tolerance=0.5, lr=3e-3)
    group = begin(Density(experiment, CPU)).optimizer.param_groups[0]
    assert (group["betas"], group["weight_decay"], group["peak"]) == ((0.5, 0.6), 0.25, 3e-3)


def test_the_tolerance_of_the_norms_reaches_them(small, monkeypatch, tmp_path):
    import resflow_lite.lab.step as step

    seen = []
    monkeypatch.setattr(step, "update_norms_", lambda flow, tol: seen.append(tol) or rf.update_norms_(flow, tol))
    rf.fit(small(steps=2, norm_tolerance=0.125), tmp_path)
    assert seen == [0.125, 0.125]


S = "stratified"  # the draws of our own profiles
LAWS = [
    (dict(law="geometric", law_parameter=0.25), rf.Roulette(rf.Geometric(0.25), 2, S)),
    (dict(law_parameter=0.25), rf.Roulette(rf.Geometric(0.25), 2, S)),
    (dict(law="poisson"), rf.Roulette(rf.Poisson(2.0), 2, S)),
    (dict(law="poisson", law_parameter=3, n_exact=0), rf.Roulette(rf.Poisson(3), 0, S)),
    (dict(law="matched", n_exact=5), rf.Roulette(rf.Matched(), 5, S)),
    (dict(law=rf.Geometric(0.1)), rf.Roulette(rf.Geometric(0.1), 2, S)),
    (dict(train_estimator="roulette", n_exact=2, law="geometric"), rf.Roulette(rf.Geometric(0.5), 2)),
    (dict(draws="block", n_exact=1), rf.Roulette(rf.Geometric(0.5), 1, "block")),
    (dict(train_estimator="stratified"), rf.Roulette(rf.Geometric(0.5), 2, S)),
    (dict(train_estimator=rf.PowerSeries(rf.Truncated(8))), rf.Truncated(8)),
    (dict(train_estimator="PowerSeries(Truncated(8))"), rf.Truncated(8)),
]


@pytest.mark.parametrize(("settings", "terms"), LAWS, ids=str)
def test_a_law_is_set_by_its_parts_or_by_an_estimator_and_comes_back_from_json(settings, terms):
    experiment = rf.Experiment.from_parameters(settings)
    assert experiment.estimators()[0].terms == terms
    again = rf.Experiment.from_record(experiment.as_json())
    assert again == experiment and again.estimators() == experiment.estimators()
    assert rf.Experiment.from_parameters(experiment.as_json()) == experiment


def test_the_profile_s_estimator_gives_what_is_left_open():
    paper = rf.Experiment(dataset="mnist", profile="paper", law="geometric")
    assert paper.estimators()[0] == rf.PowerSeries(rf.Roulette(rf.Geometric(0.5), 3), "gaussian")
    assert paper.train_estimator is None and paper.n_exact == 3


WRONG = [
    (dict(train_estimator="roulette", law="poisson"), "law = 'poisson': expected 'geometric', which train_estimator ="),
    (dict(train_estimator="truncated", n_exact=3), "n_exact = 3: expected None, which train_estimator = 'truncated'"),
    (dict(train_estimator=rf.Exact(), probe="gaussian"), "probe = 'gaussian': expected None, which train_estimator"),
    (dict(law="uniform"), "law = 'uniform': expected one of geometric, poisson, matched"),
    (dict(train_estimator="stratified", draws="block"), "draws = 'block': expected 'stratified', which train_est"),
    (dict(draws="sorted"), r"Roulette\(draws='sorted'\): expected one of block, sample, stratified"),
    (dict(law="geometric", law_parameter=2), r"law_parameter = 2: Geometric\(p=2\)"),
    (dict(law="matched", law_parameter=0.5), "law_parameter = 0.5: expected None with law = 'matched'"),
    (dict(n_probes=0), "n_probes = 0"),
    (dict(probe="uniform"), "probe = 'uniform': expected one of rademacher, gaussian"),
    (dict(eval_exact=3, eval_estimator=rf.Exact()), "eval_exact = 3: expected None"),
    (dict(eval_estimator="krylov"), "eval_estimator = 'krylov': expected an estimator object"),
    (dict(coeff=1.0), "coeff = 1.0"),
    (dict(alpha=0.5), "alpha = 0.5"),
    (dict(factor_out=1), "factor_out = 1: expected True or False"),
    (dict(padding=-1), "padding = -1"),
    (dict(betas=[0.9]), r"betas = \(0.9,\): expected two"),
    (dict(weight_decay=-1), "weight_decay = -1"),
    (dict(clip=0), "clip = 0"),
    (dict(norm_tolerance=0), "norm_tolerance = 0"),
    (dict(norms="learned", norm_penalty=-0.1), "norm_penalty = -0.1: expected a number, 0 or more"),
    (dict(norm_penalty=0.01), "norm_penalty = 0.01: expected 0 unless norms = 'learned'"),
    (dict(sampling="shuffle"), "sampling = 'shuffle': expected one of replacement, epochs"),
    (dict(train_on_validation=True, validation=100), "validation = 100: expected 0 with train_on_validation"),
    (dict(system="glow", law="poisson"), "law = 'poisson': expected None, because system = 'glow'"),
    (dict(system="glow", coeff=0.9), "coeff = 0.9: expected None, because system = 'glow'"),
]


@pytest.mark.parametrize(("settings", "says"), WRONG, ids=str)
def test_what_cannot_work_is_refused_by_name(settings, says):
    with pytest.raises(rf.SettingsError, match=says):
        rf.Experiment.from_parameters(settings)


CARRIED = [
    (rf.Experiment(), dict(dataset="mnist"), "dataset = 'mnist': steps, batch_size, lr, .* for dataset = 'digits'"),
    (rf.Experiment(), dict(profile="smoke"), "profile = 'smoke': steps, lr"),
    (rf.Experiment(profile="smoke", lr=0.01), dict(dataset="cifar10"), "alpha came from the profile"),
    (dataclasses.replace(rf.Experiment(), seed=1), dict(dataset="mnist", steps=5), "'mnist': batch_size, lr"),
    (rf.Experiment(), dict(system="glow"), "system = 'glow': width, n_dense"),
    (rf.ToyExperiment(), dict(system="glow"), "system = 'glow': steps, lr"),
    (rf.HybridExperiment(), dict(dataset="mnist"), "dataset = 'mnist': steps.* weight"),
]


@pytest.mark.parametrize(("experiment", "changes", "says"), CARRIED, ids=str)
def test_what_one_profile_has_filled_in_is_not_carried_to_another(experiment, changes, says):
    with pytest.raises(rf.SettingsError, match=says):
        dataclasses.replace(experiment, **changes)


def test_what_is_the_same_for_both_and_what_was_chosen_is_carried():
    own = dict(steps=5, lr=0.01)
    assert dataclasses.replace(rf.Experiment(**own), seed=3) == rf.Experiment(**own, seed=3)
    smoke = dict(profile="smoke", **own)
    assert dataclasses.replace(rf.Experiment(**smoke), dataset="mnist", alpha=1e-6) == rf.Experiment("mnist", **smoke)
    assert dataclasses.replace(rf.ToyExperiment(steps=7), dataset="moons") == rf.ToyExperiment("moons", steps=7)
    again = copy.deepcopy(rf.Experiment())
    assert again == rf.Experiment() and "filled" not in again.as_dict()


def test_numbers_of_numpy_and_torch_are_plain_numbers_in_a_run_s_files():
    experiment = rf.Experiment(steps=np.int64(7), lr=torch.tensor(0.5, dtype=torch.float64))
    assert experiment == rf.Experiment(steps=7, lr=0.5) and experiment.as_json()["steps"] == 7
    assert rf.Experiment.from_record(experiment.as_json()) == experiment


def test_a_class_in_place_of_an_activation_is_refused_without_advice_about_brackets():
    with pytest.raises(rf.SettingsError, match="activation = the class ReLU: expected one of .* class$"):
        rf.Experiment(activation=torch.nn.ReLU)


def test_numbers_come_as_text_and_whole_numbers_as_floats():
    given = dict(steps="1e3", warm_up=10.0, lr="1e-2", batch_size="64", law_parameter="0.25", seed=2.0)
    experiment = rf.Experiment.from_parameters(given)
    assert (experiment.steps, experiment.warm_up, experiment.batch_size, experiment.seed) == (1000, 10, 64, 2)
    assert all(type(getattr(experiment, name)) is int for name in ("steps", "warm_up", "batch_size", "seed"))
    assert (experiment.lr, experiment.law_parameter) == (0.01, 0.25)
    for steps in (2.5, "1e-1", "inf", "many"):
        with pytest.raises(rf.SettingsError, match="steps = "):
            rf.Experiment.from_parameters(dict(steps=steps))


def test_an_epoch_is_every_image_once_and_depends_on_the_seed_alone():
    seen = torch.cat([epochs(50, 8, step, seed=3) for step in range(1, 26)])  # four epochs
    for epoch in seen.split(50):
        assert epoch.sort().values.tolist() == list(range(50))
    assert not torch.equal(seen[:50], seen[50:100])
    assert torch.equal(epochs(50, 8, 9, seed=3), seen[64:72]) and not torch.equal(epochs(50, 8, 9, seed=4), seen[64:72])


def test_validation_images_are_trained_on_if_asked(small):
    data = Density(small(train_on_validation=True, sampling="epochs"), CPU).data
    train, validation = (rf.load_images("digits", split).images for split in ("train", "validation"))
    assert len(data) == len(train) + len(validation) == 1500
    x = data.batch(torch.tensor([0, 1300, 1299, 1499]), torch.Generator(), flip=False)
    expected = torch.stack([train[0], validation[0], train[1299], validation[199]])
    assert torch.equal((x * 17).floor().byte(), expected)
    assert small(train_on_validation=True).validation == 0


def test_a_model_with_every_setting_of_its_own_trains_and_is_scored(small, tmp_path):
    own = MODEL | dict(steps=3, sampling="epochs", law="poisson", eval_exact=3, weight_decay=1e-4, flip=True)
    run = rf.fit(small(**own), tmp_path)
    result = rf.evaluate(run, passes=1, n_images=20)
    assert result.lipschitz_bound < 1 and "n_exact=3" in result.estimator
    again = rf.load_run(tmp_path)
    assert again.experiment == run.experiment and again.flow.latent_shape == (4 * 64,)


def test_a_law_of_the_package_comes_back_from_the_folder(small, tmp_path):
    """It was Geometric(0.5), without a word."""
    estimator = rf.PowerSeries(rf.Roulette(rf.Geometric(0.25), n_exact=1), "gaussian", 2)
    rf.fit(small(steps=2, train_estimator=estimator), tmp_path)
    run = rf.load_run(tmp_path)
    block = next(m for m in run.flow.modules() if isinstance(m, rf.ResidualBlock))
    assert run.experiment.train_estimator == block.train_estimator == estimator
    assert rf.fit(run.experiment, tmp_path).step == 2  # its own folder


def test_words_are_read_without_running_them():
    for estimator in (rf.Exact(), rf.Krylov(20, tol=1e-3), rf.PowerSeries(rf.Roulette(rf.Matched(0.5), 3, "sample"))):
        assert rebuilt(repr(estimator)) == estimator
    for words in ("print(1)", "PowerSeries(", "Own()", "PowerSeries(terms=Own())", "Exact().draw", "Exact(1, 2, 3)"):
        assert rebuilt(words) == words


class Own:
    """An estimator of a user."""

    def draw(self, x, generator=None):
        return None

    def estimate(self, g, draw):
        return rf.Exact().estimate(g, draw)


def patterns(split):
    images = torch.arange(40 * 16, dtype=torch.uint8).view(40, 1, 4, 4) % 4
    return rf.Images(images, torch.zeros(40, dtype=torch.int64), 4)


def test_what_a_file_does_not_hold_is_asked_for_only_where_it_is_needed(small, tmp_path):
    experiment = small(steps=2, dataset=patterns, train_estimator=Own())
    rf.fit(experiment, tmp_path)
    assert claim(tmp_path, small(steps=2, dataset=patterns, train_estimator=Own())) == 2  # another object, no address
    run = rf.load_run(tmp_path)
    assert isinstance(run.experiment.dataset, Unknown)
    assert run.flow.certify().worst[1] < 1
    levels = sample_levels(run, 3)
    assert levels.shape == (3, 1, 4, 4) and int(levels.max()) < 4
    with pytest.raises(rf.SettingsError, match="dataset = patterns is your own.*--experiment MODULE:NAME"):
        rf.evaluate(run)
    run.flow.train()
    with pytest.raises(rf.SettingsError, match="train_estimator = .*Own object.* is your own"):
        run.flow.log_prob(torch.rand(2, 1, 4, 4))
    result = rf.evaluate(rf.load_run(tmp_path, experiment=experiment), estimator=rf.Krylov(5), passes=1)
    assert result.dataset == "patterns" and "Krylov" in result.estimator
    with pytest.raises(rf.SettingsError, match="not of the model that these settings make.*'width': 8"):
        rf.load_run(tmp_path, experiment=small(width=9))


def test_points_of_a_sampler_of_ones_own(tiny, tmp_path):
    def line(n, generator=None):
        return torch.randn(n, 1, generator=generator) * torch.ones(2) + 0.1 * torch.randn(n, 2, generator=generator)

    experiment = rf.ToyExperiment(**tiny["ToyExperiment"] | dict(dataset=line, steps=2))
    assert rf.run_toy(experiment, tmp_path)["settings"]["dataset"] == "line"
    run = rf.load_run(tmp_path)
    assert run.flow.certify().worst[1] < 1
    with pytest.raises(rf.SettingsError, match="dataset = line is your own"):
        rf.evaluate(run)


def test_any_run_is_evaluated_from_its_folder(tiny, tmp_path):
    for kind in ("ToyExperiment", "HybridExperiment"):
        first = rf.run_toy(getattr(rf, kind)(**tiny[kind]), tmp_path / kind)
        again = rf.evaluate(tmp_path / kind)
        score = "nats" if kind == "ToyExperiment" else "accuracy"
        assert again[score] == first[score]
        metrics = json.loads((tmp_path / kind / "metrics.json").read_text())
        assert metrics[score] == first[score] and metrics["task"] == first["task"]
        assert metrics["reconstruction_error"] < 1e-3 and metrics["lipschitz_bound"] < 1


def test_a_folder_of_images_is_told_of_by_its_name_alone(small, monkeypatch, tmp_path):
    import resflow_lite.lab.tasks.batches as batches

    monkeypatch.setattr(batches, "load_images", lambda name, split="train": patterns(split))
    run = rf.fit(small(steps=2, dataset="folder:/home/ada/cats"), tmp_path)
    rf.evaluate(run, passes=1)
    entry = (tmp_path / "ledger.json").read_text()
    assert json.loads(entry)["settings"]["dataset"] == "folder:cats" and "/home/ada" not in entry
    assert rf.load_run(tmp_path).experiment.dataset == "folder:/home/ada/cats"


def test_a_score_of_an_unfinished_run_is_not_taken_for_the_result(tiny, monkeypatch, tmp_path):
    import os
    import signal

    import resflow_lite.lab.step as step

    experiment = rf.ToyExperiment(**tiny["ToyExperiment"] | dict(steps=10))
    with monkeypatch.context() as patch, pytest.raises(rf.ResflowError, match="SIGTERM"):
        stop = lambda flow, tol: os.kill(os.getpid(), signal.SIGTERM)  # noqa: E731
        patch.setattr(step, "update_norms_", stop)
        rf.run_toy(experiment, tmp_path)
    assert rf.evaluate(tmp_path)["steps"] < 10
    assert rf.run_toy(experiment, tmp_path)["steps"] == 10


def test_a_study_of_costs_has_plain_settings():
    assert StepCosts().as_dict()["profile"] == "smoke"
