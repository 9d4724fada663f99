"""Hybrid experiments: the scores against cases computed by hand, the run and its entry, settings refused early."""

import json
import math

import pytest
import torch

import resflow_lite as rf
from resflow_lite.lab.checkpoints import load_flow
from resflow_lite.lab.data.images import Images
from resflow_lite.lab.ledger import publish, validate_entry
from resflow_lite.lab.machine import connect
from resflow_lite.lab.scoring import estimating_with
from resflow_lite.lab.tasks.batches import cut
from resflow_lite.lab.tasks.hybrid import (
    altered,
    auroc,
    calibration_error,
    hybrid_weights,
    reliability,
    score_hybrid,
    summary,
)
from resflow_lite.lab.tasks.registry import task_of
from resflow_lite.lab.tasks.task import noises

QUICK = dict(profile="smoke", steps=3, batch_size=16, parameters=4_000, head_width=4)


@pytest.fixture
def quick():
    def build(**settings):
        return rf.HybridExperiment(**(QUICK | settings))

    return build


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One run with a density and one without, and their entries."""
    torch.set_default_dtype(torch.float32)
    runs = {}
    for name, weight in (("density", None), ("classifier", 0.0)):
        directory = tmp_path_factory.mktemp(name)
        runs[name] = directory, rf.run_hybrid(rf.HybridExperiment(**QUICK, weight=weight), directory)
    return runs


def two_classes(*confidences):
    """Probabilities with these in the first class."""
    first = torch.tensor(confidences, dtype=torch.float64)
    return torch.stack([first, 1 - first], 1)


def test_calibration_error_by_hand():
    # bin (0.6, 0.7]: confidences 0.7 and 0.7, one of two right; bin (0.9, 1]: 1.0, wrong
    probabilities, labels = two_classes(0.7, 0.7, 1.0), torch.tensor([0, 1, 1])
    mean, accuracy, counts = reliability(probabilities, labels)
    assert counts.tolist() == [0] * 6 + [2, 0, 0, 1]
    assert torch.allclose(mean[[6, 9]], torch.tensor([0.7, 1.0], dtype=mean.dtype)) and mean[0].isnan()
    assert accuracy[[6, 9]].tolist() == [0.5, 0.0]
    assert calibration_error(probabilities, labels) == pytest.approx((2 * 0.2 + 1 * 1.0) / 3)


def test_a_calibrated_classifier_has_no_calibration_error():
    """Labels drawn from the probabilities; the error that is left is of the order 1 / sqrt(images)."""
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.randn(40_000, 3, generator=generator).softmax(1)
    labels = torch.multinomial(probabilities, 1, generator=generator)[:, 0]
    assert calibration_error(probabilities, labels) < 0.01
    assert calibration_error(probabilities**3 / (probabilities**3).sum(1, keepdim=True), labels) > 0.1


def test_auroc_counts_pairs():
    known, strange = torch.tensor([3.0, 1.0]), torch.tensor([2.0, 0.0, 1.0])
    pairs = [(float(k > s) + 0.5 * float(k == s)) for k in known for s in strange]
    assert auroc(known, strange) == pytest.approx(sum(pairs) / 6) == pytest.approx(4.5 / 6)
    assert auroc(strange, known) == pytest.approx(1.5 / 6)


def test_wrong_shapes_are_refused():
    with pytest.raises(rf.SettingsError, match=r"expected \(B, classes\)"):
        reliability(torch.rand(3, 2), torch.zeros(2))


def test_the_summary_by_hand():
    found = dict(
        logits=torch.tensor([[3.0, 0.0], [0.0, 1.0], [2.0, 0.0], [0.0, 0.0]]), bits=torch.tensor([1.0, 3.0, 2.0, 2.0])
    )
    found |= dict(log_prob=torch.tensor([1.0, 2.0]), altered_log_prob=torch.tensor([0.0, 1.5]))
    scores = summary(found, torch.tensor([0, 1, 1, 0]))
    assert scores["accuracy"] == 0.75 and scores["accuracy_error"] == pytest.approx(0.25)
    nats = [math.log1p(math.exp(-3)), math.log1p(math.exp(-1)), math.log1p(math.exp(2)), math.log(2)]
    assert scores["label_nats"] == pytest.approx(sum(nats) / 4)
    assert scores["bits_per_dim"] == 2 and scores["standard_error"] == pytest.approx(math.sqrt(2 / 3) / 2)
    assert scores["shifted_auroc"] == 0.75


def test_scores_are_those_of_the_model(quick):
    """Coupling blocks need no estimator: every number again, from the layers themselves."""
    torch.set_default_dtype(torch.float64)
    flow = quick(kind="coupling").build((1, 8, 8)).eval()
    levels, labels = torch.arange(3 * 64).view(3, 1, 8, 8) % 17, torch.tensor([0, 1, 2])
    found = score_hybrid(flow.double(), Images(levels, labels, 17))
    generator = torch.Generator().manual_seed(1)
    x = rf.uniform_dequantize(levels, 17, generator)
    strange = rf.uniform_dequantize(levels.flip(2), 17, generator)
    with torch.no_grad():
        assert torch.allclose(found["logits"], flow.logits(x)) and torch.allclose(found["log_prob"], flow.log_prob(x))
        assert torch.allclose(found["altered_log_prob"], flow.log_prob(strange))
        assert torch.allclose(found["bits"], rf.bits_per_dim(flow.log_prob(x), (1, 8, 8), 17))
    assert torch.equal(altered(levels)[0, 0, 0], levels[0, 0, 7])


def test_the_entry_says_what_was_done(finished):
    directory, entry = finished["density"]
    validate_entry(entry)
    assert entry == json.loads((directory / "ledger.json").read_text())
    assert entry["task"] == "hybrid" and entry["n_test"] == 297 and entry["images_seen"] == 3 * 16
    assert entry["settings"]["weight"] == 1 / 64 and entry["settings"]["kind"] == "residual"
    assert entry["lipschitz_bound"] < 1 and entry["reconstruction_error"] < 1e-3
    assert "n_exact=2" in entry["estimator"]["training"] and entry["estimator"]["evaluation"] == "Exact()"
    assert 0 < entry["cpu_seconds"] and 0 < entry["standard_error"] and 0 <= entry["shifted_auroc"] <= 1
    files = {path.name for path in directory.iterdir()}
    assert {"experiment.json", "training.jsonl", "model.safetensors", "ledger.json"} <= files


def test_the_stored_model_has_the_stored_scores(finished):
    directory, entry = finished["density"]
    flow, _ = load_flow(directory / "model.safetensors", rf.HybridExperiment(**QUICK))
    test = rf.load_images("digits", "test")
    again = summary(score_hybrid(flow, test, estimator=rf.Exact()), test.labels)
    assert again == {name: entry[name] for name in again}


def test_a_classifier_alone_has_no_density_to_report(finished):
    _, entry = finished["classifier"]
    validate_entry(entry)
    assert entry["bits_per_dim"] is entry["standard_error"] is entry["shifted_auroc"] is None
    assert entry["lipschitz_bound"] < 1 and entry["label_nats"] > 0


def test_without_weight_no_log_determinant_is_computed(quick, tmp_path, monkeypatch):
    def fail(*arguments):
        raise AssertionError("a log-determinant was computed")

    monkeypatch.setattr(rf.HybridFlow, "joint", fail)
    rf.run_hybrid(quick(weight=0.0), tmp_path / "classifier")
    with pytest.raises(AssertionError, match="was computed"):
        rf.run_hybrid(quick(), tmp_path / "hybrid")


def test_a_finished_run_is_returned_and_belongs_to_its_settings(finished, quick, monkeypatch):
    directory, entry = finished["density"]
    monkeypatch.setattr(rf.HybridExperiment, "build", None)  # nothing is trained again
    assert rf.run_hybrid(quick(), directory) == entry
    with pytest.raises(rf.SettingsError, match="kind = 'residual': choose another folder"):
        rf.run_hybrid(quick(kind="coupling"), directory)


def test_the_same_settings_give_the_same_run(finished, quick, tmp_path, same_weights):
    (directory, first), again = finished["density"], rf.run_hybrid(quick(), tmp_path)
    for name in ("accuracy", "label_nats", "bits_per_dim"):
        assert first[name] == again[name]
    assert same_weights(directory / "model.safetensors", tmp_path / "model.safetensors")


def test_an_entry_can_be_published(finished, tmp_path):
    directory, entry = finished["density"]
    path = publish(directory, tmp_path, "residual")
    assert path.name == f"digits-residual-smoke-seed0-{entry['checkpoint_sha256'][:8]}.json"


def test_kinds_are_trained_at_one_size(quick):
    counts = [
        sum(p.numel() for p in rf.HybridExperiment(kind=k).build((1, 8, 8)).parameters()) for k in rf.hybrid_kinds
    ]
    assert max(counts) < 1.05 * min(counts)


def test_augmented_images_are_cut_out_of_their_reflected_frame():
    """Against torch's own padding and plain slices, for corners from one end to the other."""
    levels = torch.arange(2 * 3 * 16, dtype=torch.uint8).view(2, 3, 4, 4)
    around = torch.nn.functional.pad(levels.double(), [2] * 4, mode="reflect").to(torch.uint8)
    for corner in ([[0, 0], [4, 4]], [[2, 2], [1, 3]]):
        found = cut(levels, torch.tensor(corner), 2)
        for image, frame, (row, column) in zip(found, around, corner):
            assert torch.equal(image, frame[:, row : row + 4, column : column + 4])
    assert torch.equal(cut(levels, torch.full((2, 2), 2), 2), levels) and found.dtype == torch.uint8


def test_a_digit_moves_by_a_pixel_at_most_and_is_never_flipped(quick):
    """Every image of a batch is a cut of its own, and the corners of all nine shifts appear."""
    moved, still = (task_of(quick(augment=augment), connect("cpu")) for augment in (True, False))
    batches = [task.batch(1, noises(0)[0])[0] for task in (moved, still)]
    size = moved.experiment.batch_size
    chosen = moved.data.choose(size, noises(0)[0])
    levels = moved.data.images[chosen]
    corners = [torch.tensor([i, j]).expand(size, 2) for i in range(3) for j in range(3)]
    shifts = torch.stack([cut(levels, corner, 1) for corner in corners])
    drawn = (batches[0] * 17).floor().to(torch.uint8)
    assert (shifts == drawn).flatten(2).all(2).any(0).all()
    assert torch.equal((batches[1] * 17).floor().to(torch.uint8), levels)


def test_the_loss_is_the_objective_in_bits_over_its_terms(quick):
    experiment = quick(kind="coupling", weight=0.5)
    task, flow = task_of(experiment, connect("cpu")), experiment.build((1, 8, 8))
    x, y = task.batch(1, noises(0)[0])
    with torch.no_grad():
        bits = -(0.5 * flow.log_prob(x) + flow.logits(x).log_softmax(1)[range(len(y)), y]) / math.log(2)
        loss = float(task.loss(flow, (x, y), noises(0)[1]))
    assert loss == pytest.approx(float(bits.mean()) / (1 + 0.5 * 64), rel=1e-5)


def test_a_run_that_is_older_than_the_recipe_is_read_as_it_was(quick, tmp_path):
    """Its heads had no ActNorm; its settings do not say so."""
    old = quick(kind="coupling", heads="plain", augment=False)
    rf.fit(old, tmp_path)
    told = {name: value for name, value in old.as_json().items() if name not in ("heads", "augment")}
    assert rf.HybridExperiment.from_record(told) == old
    flow, experiment = load_flow(tmp_path / "model.safetensors")[:2]
    assert experiment == old and len(flow.heads[0]) == 3


def test_the_validation_loss_is_of_held_out_images_by_exact_log_determinants(quick):
    """Twice the same, and the loss of the same images by hand."""
    experiment = quick()
    task, flow = task_of(experiment, connect("cpu")), experiment.build((1, 8, 8)).eval()
    data = rf.load_images("digits", "validation")
    x = rf.uniform_dequantize(data.images, 17, torch.Generator().manual_seed(2))
    with torch.no_grad(), estimating_with(flow, rf.Exact()):
        truth = -flow.objective(x, data.labels, 1 / 64).mean() / (2 * math.log(2))
    assert task.validate(flow) == task.validate(flow) == pytest.approx(float(truth), rel=1e-5)


def test_training_learns(quick, tmp_path):
    """Guessing has 10 % and log2(17) = 4.09 bits/dim; a minute of training 95 %."""
    entry = rf.run_hybrid(
        quick(kind="coupling", steps=160, batch_size=64, lr=2e-2, parameters=12_000, head_width=16), tmp_path
    )
    assert entry["accuracy"] > 0.7 and entry["bits_per_dim"] < math.log2(17)


def test_weights_of_the_paper():
    assert hybrid_weights("digits") == {"0": 0.0, "1/D": 1 / 64, "1": 1.0}
    assert hybrid_weights("cifar10")["1/D"] == 1 / 3072 == rf.HybridExperiment("cifar10").weight


def test_the_paper_profile_has_the_width_of_the_paper():
    with torch.device("meta"):
        for dataset, shape in (("mnist", (1, 28, 28)), ("cifar10", (3, 32, 32))):
            e = rf.HybridExperiment(dataset, profile="paper")
            flow = rf.hybrid_flow(shape, 10, e.blocks, 512, "residual", e.head_width)
            assert sum(p.numel() for p in flow.parameters()) == pytest.approx(e.parameters, rel=0.02)


WRONG = [
    (dict(dataset="imagenet32"), "dataset = 'imagenet32': expected one of digits"),
    (dict(kind=["residual"]), "kind = "),
    (dict(blocks=(True, 1)), "blocks = .*True"),
    (dict(blocks=[1] * 7), "cannot be halved 6 times"),
    (dict(seed=2**70), "seed = .* to 2\\^63 - 1"),
    (dict(parameters=20), "the closest model has"),
    (dict(heads="bare"), "heads = 'bare': expected one of normed, plain"),
    (dict(augment=1), "augment = 1: expected True or False"),
    (dict(head_width=10**7), "head_width = .* to 100,000"),
    (dict(kind="dense"), "kind = 'dense'"),
    (dict(weight=-1.0), "weight = -1.0"),
    (dict(weight=math.nan), "weight = nan"),
    (dict(weight="1/D"), "weight = '1/D': expected a number"),
    (dict(profile="huge"), "profile = 'huge'"),
    (dict(profile="paper"), "profile = 'paper': expected 'smoke' or 'laptop' for digits"),
    (dict(steps=0), "steps = 0"),
    (dict(seed=-1), "seed = -1"),
    (dict(lr=2), "lr = 2"),
    (dict(ema=1.0), "ema = 1.0"),
    (dict(blocks=(4, 0)), r"blocks = \(4, 0\)"),
    (dict(blocks=4), "blocks = 4"),
    (dict(parameters=1.5), "parameters = 1.5"),
]


@pytest.mark.parametrize(("settings", "sentence"), WRONG)
def test_wrong_values_are_refused(settings, sentence):
    with pytest.raises(rf.SettingsError, match=sentence):
        rf.HybridExperiment(**settings)


def test_parameters_by_name():
    experiment = rf.HybridExperiment.from_parameters(dict(weight="1e-2", blocks=[1, 1], kind="coupling"))
    assert experiment.weight == 0.01 and experiment.blocks == (1, 1)
    assert rf.HybridExperiment.from_parameters(json.loads(json.dumps(experiment.as_dict()))) == experiment
    with pytest.raises(rf.SettingsError, match="unknown parameter 'wieght': did you mean 'weight'"):
        rf.HybridExperiment.from_parameters(dict(wieght=0))
