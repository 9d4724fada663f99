"""What the lab and the models offer beside training: a right number, or a sentence."""

import math

import pytest
import torch

import resflow_lite as rf
from resflow_lite import lab

SHARES, CLASSES, SCORES = torch.tensor([[0.5, 0.5], [0.9, 0.1]]), torch.tensor([0, 1]), torch.zeros(3)
GPU = dict(dataset="cifar10", profile="paper")


def pictures(n=20, n_levels=17, shape=(1, 4, 4)):
    return rf.Images(torch.zeros(n, *shape, dtype=torch.uint8), torch.zeros(n, dtype=torch.int64), n_levels)


HELPERS = {
    "no entry of the ledger": (lambda: lab.by_seed([dict(seed=0)], "x"), "x = None in the entry of seed 0"),
    "a score that is none": (lambda: lab.by_seed([dict(seed=0, x=math.nan)], "x"), "x = nan in the entry"),
    "no values": (lambda: lab.mean_and_error([]), "there are no values"),
    "a group of none": (lambda: lab.compare({"a": []}, "x"), "there are no values"),
    "no family": (lambda: lab.paired_interval({0: 2.0}, {0: 1.0}, 0), "family = 0"),
    "no scores": (lambda: lab.auroc(SCORES[:0], SCORES), "known is Tensor of shape"),
    "scores in a table": (lambda: lab.auroc(SCORES, SCORES[None]), "strange is Tensor of shape"),
    "scores in a list": (lambda: lab.auroc([1.0], SCORES), "known = "),
    "a class that is none": (lambda: lab.calibration_error(SHARES, CLASSES - 1), "labels holds -1 to 0"),
    "a class too many": (lambda: lab.calibration_error(SHARES, CLASSES + 1), "labels holds 1 to 2"),
    "logits": (lambda: lab.calibration_error(5 * SHARES, CLASSES), "probabilities has entries"),
    "shares of less than all": (lambda: lab.calibration_error(SHARES / 2, CLASSES), "rows that miss 1 by 0.5"),
    "shares that are none": (lambda: lab.calibration_error(SHARES * math.nan, CLASSES), "probabilities has 4 entries"),
    "shares of no images": (lambda: lab.calibration_error(SHARES[:0], CLASSES[:0]), "probabilities has no rows"),
    "no bins": (lambda: lab.calibration_error(SHARES, CLASSES, 0), "n_bins = 0"),
    "other levels": (lambda: lab.independent_pixels(pictures(), pictures(n_levels=200)), "n_levels = 200, but 17"),
    "other images": (
        lambda: lab.gaussian_on_logits(pictures(), pictures(shape=(1, 2, 2)), 0.05),
        r"images \(1, 2, 2\)",
    ),
    "one image": (lambda: lab.gaussian_on_logits(pictures(1), pictures(), 0.05), "two images or more"),
    "half a GPU": (lambda: lab.simulated(rf.Experiment(**GPU), 2.5), "gpus = 2.5"),
    "other draws": (lambda: lab.step_seconds(rf.Experiment(**GPU), "own"), "draws = 'own'"),
    "data of no size": (lambda: lab.step_tflop(rf.Experiment()), "dataset = 'digits'"),
    "no series": (lambda: lab.step_tflop(rf.Experiment(**GPU, train_estimator=rf.Exact())), "whose terms are counted"),
    "another system": (
        lambda: lab.step_seconds(rf.Experiment(**GPU, system="glow")),
        "only steps of the residual flow",
    ),
    "a task of the plane": (lambda: lab.step_seconds(rf.ToyExperiment()), "experiment = ToyExperiment"),
    "one draw": (lambda: rf.bias_report(rf.toy_flow(1, (4,)), torch.zeros(4, 2), n_draws=1), "n_draws = 1"),
    "no model": (lambda: rf.bias_report(None, torch.zeros(4, 2)), "model = None"),
    "no module": (lambda: rf.with_budget(lambda width: width, 1000), "width"),
    "no dimension": (lambda: rf.dense_velocity(0, 4), "dim = 0"),
    "widths that are a number": (lambda: rf.dense_branch(2, "elu", 0.9), "widths = 2: expected two widths or more"),
    "a function": (lambda: rf.exact_log_det(lambda x: x, torch.zeros(4, 2)), "bijection = "),
    "points in a list": (lambda: lab.point_nats(rf.toy_flow(1, (4,)), [[0.0, 1.0]]), "x=.*expected a tensor"),
    "no flow": (lambda: lab.train_toy(rf.ToyExperiment(profile="smoke"), "x"), "flow = 'x'"),
    "no run": (lambda: lab.sample_levels(None, 4), "run = None"),
    "no folder": (lambda: lab.publish(5), "run_dir = 5"),
    "a file as a ledger": (lambda: lab.read_entries(__file__), "there is no ledger"),
    "no sweep": (lambda: lab.planned(5, "smoke"), "source = 5"),
    "no function": (lambda: rf.fit(rf.Experiment(), "runs", on_record=5), "on_record = 5"),
    "no source": (lambda: rf.fit(rf.Experiment(), "runs", source=5), "source = 5"),
    "no steps": (lambda: lab.train_features("digits", steps=0), "steps = 0"),
    "no namespace": (lambda: lab.experiment_from_notebook(5), "namespace = 5"),
    "no study": (lambda: lab.measure_costs("x", "runs", torch.device("cpu")), "study = 'x'"),
}


@pytest.mark.parametrize("helper", HELPERS)
def test_the_helpers_of_the_lab_say_what_they_take(helper):
    """Each gave a number that means nothing, or another library's error."""
    call, told = HELPERS[helper]
    with pytest.raises(rf.ResflowError, match=told):
        call()


def test_a_score_may_be_infinite():
    inf = torch.tensor(math.inf)
    assert lab.auroc(torch.stack([inf, inf]), torch.stack([inf, -inf])) == 0.75
