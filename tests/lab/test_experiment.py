"""From settings to a ledger entry, in seconds."""

import json

import pytest
import torch

import resflow_lite as rf
from resflow_lite.lab.checkpoints import load_flow
from resflow_lite.lab.ledger import validate_entry

WRONG = [
    ({"lr": "banana"}, "lr = 'banana'"),
    ({"lr": -1.0}, "lr = -1.0"),
    ({"lr": float("nan")}, "lr = nan"),
    ({"lr": True}, "lr = True"),
    ({"learning_rate": 1}, "unknown parameter 'learning_rate'"),
    ({"stepz": 5}, "did you mean 'steps'"),
    ({"steps": 2.5}, "steps = 2.5"),
    ({"steps": 0}, "steps = 0"),
    ({"seed": -1}, "seed = -1"),
    ({"blocks": [4, 0]}, "blocks = "),
    ({"blocks": "4-4"}, "blocks = '4-4'"),
    ({"dataset": "imagenet"}, "dataset = 'imagenet'.*digits"),
    ({"profile": "huge"}, "profile = 'huge'.*laptop"),
    ({"train_estimator": "magic"}, "train_estimator = 'magic'.*roulette"),
    ({"ema": 1.0}, "ema = 1.0"),
    ({"cool_down": 2}, "cool_down = 2"),
    ({"flip": 1}, "flip = 1: expected True or False"),
    ({"validation": -5}, "validation = -5"),
    ({"accumulation": 3}, "accumulation = 3: expected a divisor of batch_size = 128"),
    ({"precision": "half"}, "precision = 'half'.*bf16"),
    ({"profile": "paper"}, "the paper has no model of digits"),
    ({"activation": "cosine"}, "activation = 'cosine'.*lipswish"),
    ({"norms": "infinite"}, "norms = 'infinite'.*learned"),
    ({"system": "nice"}, "system = 'nice'.*realnvp"),
    ({"system": "glow", "width": 32}, "width = 32: expected None, because system = 'glow' has its own"),
    ({"parameters": 1000}, "parameters = 1000: expected None without a system"),
    ({"system": "glow", "parameters": 0}, "parameters = 0"),
    ({"system": "flow++", "parameters": 90}, "the closest model has"),
    ({"system": "iresnet", "parameters": 10**19}, "parameters = .* to 10,000,000,000"),
    ({"seed": 2**63}, "seed = 9223372036854775808: expected .* to 2\\^63 - 1"),
    ({"steps": True}, "steps = True"),
    ({"activation": ["tanh"]}, "activation = "),
    ({"activation": {}}, "activation = {}"),
    ({"system": {"b": 2}}, "system = {'b': 2}"),
    ({"law": ["matched"]}, "law = "),
    ({"law": rf.Poisson}, "law = the class"),
    ({"law_parameter": [0.5]}, "law_parameter = .*a number"),
    ({"train_estimator": rf.Krylov}, "train_estimator = the class"),
    ({"eval_estimator": rf.Krylov}, "eval_estimator = the class"),
    ({"blocks": (1, True)}, "blocks = .*True"),
    ({"blocks": [2, 2, 2, 2, 2]}, "images of 8 x 8 cannot be halved 4 times"),
    ({"blocks": [10**6]}, "1,000 blocks at most"),
    ({"n_dense": 10**6}, "n_dense = 1000000: expected .* to 1,000"),
    ({"width": 10**8}, "width = .* to 100,000"),
    ({"evaluations": 10**8}, "evaluations = .* to 10,000"),
    ({None: 1}, "unknown parameter None"),
    ({8: 1}, "unknown parameter 8"),
]


@pytest.mark.parametrize(("parameters", "says"), WRONG, ids=str)
def test_a_wrong_name_or_value_is_refused_with_its_name(parameters, says):
    with pytest.raises(rf.SettingsError, match=says):
        rf.Experiment.from_parameters(parameters)


@pytest.mark.parametrize("parameters", [[], None, "steps", 3], ids=str)
def test_what_holds_no_names_is_refused(parameters):
    with pytest.raises(rf.SettingsError, match="parameters = .*expected names and values"):
        rf.Experiment.from_parameters(parameters)


def test_a_number_that_yaml_reads_as_text_is_taken():
    assert rf.Experiment.from_parameters({"lr": "1e-3"}).lr == 1e-3


def test_the_profile_fills_what_is_not_given():
    experiment = rf.Experiment(profile="smoke", blocks=[2, 1])
    assert experiment.blocks == (2, 1) and experiment.steps == 10
    assert rf.Experiment.from_parameters(experiment.as_dict()) == experiment


@pytest.mark.parametrize("dataset", ["mnist", "cifar10", "imagenet32", "imagenet64", "celebahq256"])
def test_the_paper_profile_is_the_preset_and_its_recipe(dataset):
    experiment, name = rf.Experiment(dataset=dataset, profile="paper"), f"paper/{dataset}"
    preset, recipe = rf.presets[name], rf.recipes[name]
    assert experiment.model(preset.shape) == preset
    assert experiment.batch_size // experiment.accumulation == recipe.batch_size
    assert (experiment.lr, experiment.ema, experiment.flip) == (recipe.lr, recipe.ema, recipe.flip)
    seen = {"mnist": 55_000, "cifar10": 45_000}.get(dataset)
    assert seen is None or experiment.steps == recipe.epochs * seen // 64
    assert experiment.cool_down == 0 and experiment.warm_up * experiment.accumulation == 1000
    fewer = rf.Experiment(dataset=dataset, profile="paper", width=32)
    assert fewer.model(preset.shape).width == 32 and fewer.batch_size == experiment.batch_size


@pytest.mark.parametrize("profile", ["smoke", "laptop"])
@pytest.mark.parametrize("dataset", rf.image_names)
def test_every_data_set_has_a_model_that_fits_its_images(dataset, profile):
    from resflow_lite.lab.data.images import image_shape

    shape = image_shape(dataset)
    assert rf.Experiment(dataset=dataset, profile=profile).model(shape).shape == shape


@pytest.fixture(scope="module")
def smoke_run(tmp_path_factory):
    torch.set_default_dtype(torch.float32)
    directory = tmp_path_factory.mktemp("run")
    run = rf.fit(rf.Experiment(profile="smoke"), directory)
    return run, rf.evaluate(run)


def test_a_run_leaves_its_files_and_can_be_read_again(smoke_run):
    run, evaluation = smoke_run
    names = {path.name for path in run.directory.iterdir()}
    assert {"experiment.json", "training.jsonl", "model.safetensors", "metrics.json", "ledger.json"} <= names
    again = rf.load_run(run.directory)
    assert again.experiment == run.experiment and again.history == run.history
    assert rf.evaluate(again) == evaluation
    assert json.loads((run.directory / "metrics.json").read_text())["bits_per_dim"] == evaluation.bits_per_dim


def test_the_evaluation_says_what_it_is_uncertain_by(smoke_run):
    _, evaluation = smoke_run
    assert evaluation.n_test == 297 and evaluation.passes == 2
    assert 0 < evaluation.noise_error < evaluation.standard_error < 0.1
    assert str(evaluation).startswith("test bits/dim 2.") and "297 test images" in str(evaluation)


VARIANTS = [
    {"activation": "elu", "train_estimator": "truncated"},
    {"norms": "learned"},
    {"train_estimator": "control_variate"},
    {"train_estimator": "matched"},
    {"system": "glow"},
    {"system": "ffjord"},
]


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
def test_every_variant_trains_is_scored_and_can_be_read_again(settings, tmp_path):
    run = rf.fit(rf.Experiment(profile="smoke", steps=2, batch_size=16, validation=0, **settings), tmp_path)
    result = rf.evaluate(run, passes=2, n_images=10)
    entry = json.loads((tmp_path / "ledger.json").read_text())
    validate_entry(entry)
    assert all(entry["settings"][name] == value for name, value in settings.items())
    assert (result.lipschitz_bound is None) == ("system" in settings)
    again = rf.load_run(tmp_path)
    assert again.experiment == run.experiment
    for name, tensor in run.flow.state_dict().items():
        assert torch.equal(tensor.nan_to_num(), again.flow.state_dict()[name].nan_to_num())


def test_learned_norms_move_and_close_their_chain(tmp_path):
    run = rf.fit(rf.Experiment(profile="smoke", steps=5, norms="learned", validation=0), tmp_path)
    orders = [m for m in run.flow.modules() if isinstance(m, rf.LearnedOrder)]
    assert len(orders) == 3 * 3 and any(abs(float(order().detach()) - 2) > 1e-4 for order in orders)
    for block in (m for m in run.flow.modules() if isinstance(m, rf.ResidualBlock)):
        layers = [step for step in block.branch.steps if hasattr(step, "coeff")]
        assert all(a.codomain is b.domain for a, b in zip(layers, [*layers[1:], layers[0]]))


def test_learned_orders_take_small_steps_whatever_the_weights_take(tmp_path):
    """After one step of Adam every parameter has moved by about its learning rate."""
    experiment = rf.Experiment(profile="smoke", steps=2, warm_up=0, cool_down=0, lr=0.5, norms="learned", validation=0)
    start = 1.1 + 3.9 * torch.sigmoid(rf.LearnedOrder().logit.detach() + torch.tensor([-2.1e-3, 2.1e-3]))
    run = rf.fit(experiment, tmp_path)
    orders = [float(m().detach()) for m in run.flow.modules() if isinstance(m, rf.LearnedOrder)]
    assert start[0] < min(orders) < max(orders) < start[1]
    ours = rf.Experiment(profile="smoke", steps=2, warm_up=0, cool_down=0, lr=1e-4, norms="learned", validation=0)
    slow = rf.fit(ours, tmp_path / "slow")
    orders = [float(m().detach()) for m in slow.flow.modules() if isinstance(m, rf.LearnedOrder)]
    assert max(abs(order - 2) for order in orders) < 3e-4  # a rate below the orders' own holds for them too


def test_training_is_repeatable_from_its_seed(smoke_run, tmp_path):
    run, _ = smoke_run
    again = rf.fit(run.experiment, tmp_path)
    for a, b in zip(run.flow.parameters(), again.flow.parameters()):
        assert torch.equal(a, b)
    other = rf.fit(rf.Experiment(profile="smoke", seed=1), tmp_path / "other")
    assert not torch.equal(next(run.flow.parameters()), next(other.flow.parameters()))


def test_training_leaves_the_global_random_state_alone(tmp_path):
    before = torch.get_rng_state()
    rf.fit(rf.Experiment(profile="smoke", steps=2), tmp_path)
    assert torch.equal(before, torch.get_rng_state())


def test_an_estimator_and_a_law_of_your_own_train_a_model(tmp_path):
    """A law is two functions; the ledger keeps the estimator's repr."""

    class TwoOrNone:
        def sample(self, n, generator=None):
            return 2 * torch.randint(2, (n,), generator=generator)

        def survival(self, k):
            return 1.0 if k == 0 else 0.5 * (k <= 2)

        def __repr__(self):
            return "TwoOrNone()"

    estimator = rf.PowerSeries(rf.Roulette(TwoOrNone(), n_exact=1))
    run = rf.fit(rf.Experiment(profile="smoke", steps=3, train_estimator=estimator), tmp_path)
    rf.evaluate(run.directory)
    entry = json.loads((tmp_path / "ledger.json").read_text())
    assert "TwoOrNone()" in entry["settings"]["train_estimator"] == entry["estimator"]["training"]


def test_an_activation_of_your_own_trains_a_model(tmp_path):
    class Arctan(rf.Activation):
        lipschitz = 1.0

        def derivatives(self, z, order, scale=None):
            slope = 1 / (1 + z * z)
            return (z.atan(), slope, -2 * z * slope * slope)[: order + 1]

    experiment = rf.Experiment(profile="smoke", steps=3, validation=0, activation=Arctan)
    run = rf.fit(experiment, tmp_path)
    assert sum(isinstance(m, Arctan) for m in run.flow.modules()) == 2 + 3 + 3
    assert rf.load_run(tmp_path, experiment=experiment).experiment == experiment
    told = r"activation = Arctan is your own.*load_run\(folder, experiment=...\), or --experiment MODULE:NAME"
    with pytest.raises(rf.SettingsError, match=told):
        rf.load_run(tmp_path)


def test_training_lowers_the_loss(tmp_path):
    run = rf.fit(rf.Experiment(profile="smoke", steps=60), tmp_path)
    assert run.history[-1]["bits_per_dim"] < run.history[0]["bits_per_dim"] - 0.05


def test_the_ledger_entry_fits_its_schema(smoke_run):
    run, _ = smoke_run
    entry = json.loads((run.directory / "ledger.json").read_text())
    validate_entry(entry)
    assert entry["images_seen"] == 10 * 128 and entry["n_test"] == 297
    with pytest.raises(rf.DataError, match="n_test"):
        validate_entry({**entry, "n_test": "many"})
    with pytest.raises(rf.DataError, match="surprise"):
        validate_entry({**entry, "surprise": 1})


def test_half_a_file_of_weights_is_refused(smoke_run, tmp_path):
    run, _ = smoke_run
    whole = (run.directory / "model.safetensors").read_bytes()
    damaged = tmp_path / "model.safetensors"
    damaged.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(rf.DataError, match="not a readable flow checkpoint"):
        load_flow(damaged)
    with pytest.raises(rf.DataError, match="not a readable flow checkpoint"):
        rf.evaluate(tmp_path / "nowhere")
