"""Error bars that cover what they should, checked by simulation."""

import copy
import json
import math
from pathlib import Path

import pytest
import torch

import resflow_lite as rf
import resflow_lite.lab.scoring as scoring
import resflow_lite.lab.stages as stages
import resflow_lite.lab.training as training
from resflow_lite.lab import load_flow, proof_cost
from resflow_lite.lab.machine import World
from resflow_lite.lab.scoring import affordable_truth, claim, error_bars, estimating_with, image_bits, infinite_variance
from resflow_lite.lab.tasks.density import CLAIMS, VALIDATION_SEED

ROOT = Path(__file__).parents[2]
HERE = World(0, 1, torch.device("cpu"))


def simulated(n_worlds, passes, images, noise_sd, seed=0):
    """bits (worlds, passes, images) of mean 0: one draw of images and of noise per world; images have variance 1."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randn(n_worlds, 1, images, generator=generator, dtype=torch.float64)
    noise = torch.randn(n_worlds, passes, images, generator=generator, dtype=torch.float64)
    return truth + noise_sd * noise, truth


def test_the_error_bars_are_the_spread_of_the_mean():
    """Over 4,000 simulated evaluations: variances that the bars state against those of the errors they are about."""
    bits, truth = simulated(4000, passes=3, images=30, noise_sd=1.5)
    bars = [error_bars(b) for b in bits]
    stated = {name: torch.tensor([b[name] ** 2 for b in bars]).mean() for name in bars[0]}
    means = bits.mean((1, 2))
    about = dict(standard_error=means, data_error=truth.mean((1, 2)), noise_error=means - truth.mean((1, 2)))
    for name, errors in about.items():
        spread = errors.square().mean()
        z = (stated[name] - spread) / (errors.square().std() / len(errors) ** 0.5)
        assert abs(z) < 4, (name, float(stated[name]), float(spread))
    assert stated["noise_error"] > 0.3 * stated["standard_error"]


@pytest.mark.parametrize(("passes", "images", "noise_sd"), [(2, 40, 0.3), (5, 40, 2.0)])
def test_the_total_error_covers_the_truth_as_often_as_it_says(passes, images, noise_sd):
    bits, _ = simulated(4000, passes, images, noise_sd)
    totals = torch.tensor([error_bars(b)["standard_error"] for b in bits])
    covered = (bits.mean((1, 2)).abs() < 2.0227 * totals).double().mean()  # Student's t, 39 degrees of freedom
    assert abs(covered - 0.95) < 4 * (0.95 * 0.05 / 4000) ** 0.5


def test_one_pass_cannot_tell_noise_from_data():
    bars = error_bars(torch.randn(1, 50))
    assert bars["standard_error"] > 0 and math.isnan(bars["data_error"]) and math.isnan(bars["noise_error"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run whose blocks do something, and its first 40 test images."""
    torch.set_default_dtype(torch.float32)
    settings = dict(profile="smoke", steps=40, batch_size=32, width=16, lr=2e-2, warm_up=5)
    return rf.fit(rf.Experiment(**settings), tmp_path_factory.mktemp("run"))


def scores(run, estimator, n, images):
    """Bits/dim (n, images), each row from a pass of its own."""
    with estimating_with(run.flow, estimator):
        return torch.stack([image_bits(run.flow, images, 17, seed, HERE) for seed in range(n)])


def test_the_stated_noise_is_that_of_repeated_evaluations(trained, monkeypatch):
    """An estimator whose N matters: no exact term. Its spread over 300 evaluations is what one pair of passes states.

    The same with one N for the whole batch, which `estimating_with` replaces, would spread several times as much.
    """
    images = rf.load_images("digits", "test").images[:40]
    bold = rf.PowerSeries(rf.Roulette(rf.Geometric(0.5), n_exact=0))
    bits = scores(trained, bold, 300, images)
    stated = torch.tensor([error_bars(pair)["noise_error"] ** 2 for pair in bits.split(2)])
    spread = torch.stack([pair.mean() for pair in bits.split(2)])
    ratio = float(stated.mean() / spread.var())
    assert abs(ratio - 1) < 4 * (2 / 150) ** 0.5
    for block in trained.flow.modules():
        if isinstance(block, rf.ResidualBlock):
            monkeypatch.setattr(block, "eval_estimator", bold)
    shared = [image_bits(trained.flow, images, 17, seed, HERE).mean() for seed in range(100)]
    assert torch.stack(shared).var() > 3 * bits.mean(1).var()


def test_a_pass_does_not_depend_on_how_processes_share_it(trained, monkeypatch):
    images = rf.load_images("digits", "test").images
    monkeypatch.setattr(scoring, "ENTRIES", 64 * 50)
    whole = image_bits(trained.flow, images, 17, 3, HERE)
    monkeypatch.setattr(World, "sum_", lambda *_: None)
    parts = [image_bits(trained.flow, images, 17, 3, World(rank, 3, HERE.device)) for rank in range(3)]
    assert torch.equal(sum(parts), whole)
    assert all(0 < int((part != 0).sum()) < len(images) for part in parts)


def test_krylov_the_roulette_and_the_truth_agree(trained):
    asked = (rf.PowerSeries(rf.Roulette(rf.Geometric(0.5), n_exact=20)), rf.Krylov(20), None)
    *results, truth = [rf.evaluate(trained, estimator=e, passes=4) for e in asked]
    assert "n_exact=20, draws='sample'" in results[0].estimator and "Krylov" in results[1].estimator
    assert truth.estimator == "Exact()"
    for result in results:
        noise = (result.noise_error**2 + truth.noise_error**2) ** 0.5
        assert abs(result.bits_per_dim - truth.bits_per_dim) < 4 * noise
        assert result.data_error**2 + result.noise_error**2 == pytest.approx(result.standard_error**2)


def test_what_the_settings_name_is_what_scores(small, tmp_path):
    for i, settings in enumerate((dict(eval_estimator=rf.Krylov(9)), dict(eval_exact=3))):
        found = rf.evaluate(rf.fit(small(steps=1, **settings), tmp_path / str(i)), passes=2, n_images=10)
        assert ("Krylov(n_steps=9", "n_exact=3, draws='sample'")[i] in found.estimator


def test_above_the_size_of_dense_jacobians_krylov_stops_where_a_product_changes_nothing(trained, monkeypatch):
    """Held against as many products as there are dimensions, where Krylov's space is whole and its form exact."""
    images = rf.load_images("digits", "test").images[:20]
    monkeypatch.setattr(scoring, "DENSE", 63)
    chosen = affordable_truth(trained.flow, rf.uniform_dequantize(images, 17))
    assert isinstance(chosen, rf.Krylov) and chosen.n_steps == scoring.STEPS
    (bits,), (whole,) = scores(trained, chosen, 1, images), scores(trained, rf.Krylov(64), 1, images)
    blocks = sum(isinstance(m, rf.ResidualBlock) for m in trained.flow.modules())
    assert (bits - whole).abs().max() < 2 * blocks * scoring.TOLERANCE


def test_where_krylov_does_not_get_there_the_roulette_has_a_finite_variance(trained, monkeypatch):
    x = rf.uniform_dequantize(rf.load_images("digits", "test").images[:20], 17)
    monkeypatch.setattr(scoring, "DENSE", 63)
    monkeypatch.setattr(scoring, "STEPS", 2)
    chosen = affordable_truth(trained.flow, x)
    assert isinstance(chosen.terms.law, rf.Matched) and chosen.terms.n_exact == 20
    assert infinite_variance(trained.flow, x, chosen) == []


def test_a_model_that_exploits_truncation_is_not_scored_by_an_infinite_variance():
    """The shipped one: its roulette has single images that are off by bits, its truth none."""
    flow, _ = load_flow(ROOT / "data" / "models" / "digits-elu-truncated.safetensors")
    x = rf.uniform_dequantize(rf.load_images("digits", "test").images[:40], 17, torch.Generator().manual_seed(0))
    assert infinite_variance(flow, x, rf.PowerSeries(rf.Roulette(rf.Geometric(0.5), n_exact=20)))
    assert infinite_variance(flow, x, affordable_truth(flow, x)) == []


def test_the_record_and_the_entry_tell_what_training_claims_and_what_is_true(small, tmp_path):
    run = rf.fit(small(steps=4, truth_images=30, train_estimator=rf.PowerSeries(rf.Truncated(1))), tmp_path)
    held_out = rf.load_images("digits", "validation").images[:30]
    last = run.history[-1]
    for name, estimator, passes in (("claim", rf.PowerSeries(rf.Truncated(1)), CLAIMS), ("truth", rf.Exact(), 1)):
        with estimating_with(run.flow, estimator):
            seeds = range(VALIDATION_SEED, VALIDATION_SEED + passes)
            found = torch.stack([image_bits(run.flow, held_out, 17, seed, HERE) for seed in seeds]).mean()
        assert last[name] == pytest.approx(float(found), abs=1e-5)
    result = rf.evaluate(run, passes=2)
    entry = json.loads((tmp_path / "ledger.json").read_text())
    assert entry["curve"] == [[row["step"], row["claim"], row["truth"]] for row in run.history]
    assert entry["objective"] != pytest.approx(result.bits_per_dim, abs=1e-6)
    assert "truth" not in rf.fit(small(steps=1), tmp_path / "without").history[0]


def test_the_proof_costs_what_scaling_the_blocks_changes(small, tmp_path, monkeypatch):
    """Nothing where the averaged weights were proven; otherwise what the score of the scaled ones is worse by."""
    run = rf.fit(small(steps=3), tmp_path / "free")
    assert proof_cost(run, 20) == pytest.approx(0, abs=1e-6)
    scaled = stages.proven

    def halved(state):
        flow = scaled(state)
        for block in (m for m in flow.modules() if isinstance(m, rf.ResidualBlock)):
            list(block.branch.parameters())[-1].data.add_(0.5)
        return flow

    monkeypatch.setattr(stages, "proven", halved)
    run = rf.fit(small(steps=3), tmp_path / "dear")
    held_out = rf.load_images("digits", "validation").images[:20]
    with estimating_with(run.flow, rf.Exact()):
        after = image_bits(run.flow, held_out, 17, VALIDATION_SEED, HERE).mean()
    cheap = rf.load_run(tmp_path / "free").flow
    with estimating_with(cheap, rf.Exact()):
        before = image_bits(cheap, held_out, 17, VALIDATION_SEED, HERE).mean()
    assert proof_cost(run, 20) == pytest.approx(float(after - before), abs=1e-5) != 0


def test_what_an_unbiased_training_claims_is_the_truth(trained):
    """To four standard errors, of the claim's 40 stratified passes."""
    images, seeds = rf.load_images("digits", "test").images[:60], range(40)
    claims = torch.tensor([claim(trained.flow, images, 17, [seed], HERE) for seed in seeds])
    truth = scores(trained, rf.Exact(), 40, images).mean(1)
    assert abs((claims - truth).mean()) < 4 * (claims - truth).std() / 40**0.5
    with estimating_with(trained.flow, None):
        assert claim(trained.flow, images, 17, seeds, HERE) == pytest.approx(float(claims.mean()))


def test_the_first_images_alone_can_be_evaluated(trained):
    result = rf.evaluate(trained, "validation", passes=1, n_images=10)
    assert (result.n_test, result.passes, result.split) == (10, 1, "validation")
    assert json.loads((trained.directory / "ledger.json").read_text())["noise_error"] is None


def test_validation_chooses_the_weights_and_the_last_ones_are_reported_too(small, monkeypatch, tmp_path):
    """A run that climbs instead of descending after half of its steps: the best weights are those of the middle."""
    original = rf.Experiment.rate
    monkeypatch.setattr(rf.Experiment, "rate", lambda e, step: original(e, step) * (1 if step < 20 else -1))
    run = rf.fit(small(steps=40, validation=100, lr=5e-3, ema=0.5), tmp_path)
    scored = {row["step"]: row["validation"] for row in run.history}
    assert run.weights == "best" and run.step == min(scored, key=scored.get) <= 24
    result = rf.evaluate(run)
    last = rf.evaluate(rf.load_run(tmp_path, "last"))
    assert result.last_step[0] == pytest.approx(last.bits_per_dim) and result.last_step[0] > result.bits_per_dim
    assert (result.weights, result.step, last.weights, last.step) == ("best", run.step, "last", 40)
    with pytest.raises(rf.SettingsError, match="weights = 'first'"):
        rf.load_run(tmp_path, "first")


def test_without_validation_the_last_step_is_reported(small, tmp_path):
    run = rf.fit(small(steps=3), tmp_path)
    result = rf.evaluate(run)
    assert run.weights == "last" and result.last_step == [result.bits_per_dim, result.standard_error]


def test_the_reported_weights_are_a_running_mean(small, monkeypatch, tmp_path):
    """averaged <- d averaged + (1 - d) weights with d = min(ema, step / (step + 9)), from the start on."""
    seen, original, start = [], torch._foreach_lerp_, training.begin
    monkeypatch.setattr(
        torch, "_foreach_lerp_", lambda a, p, d: seen.append([q.detach().clone() for q in p]) or original(a, p, d)
    )
    first = []

    def starting(*args, **named):
        state = start(*args, **named)
        first.extend(copy.deepcopy(state.averaged))
        return state

    monkeypatch.setattr(training, "begin", starting)
    run = rf.fit(small(steps=5, ema=0.25), tmp_path)
    mean = first
    for step, weights in enumerate(seen, 1):
        d = min(0.25, step / (step + 9))
        mean = [d * m + (1 - d) * w for m, w in zip(mean, weights)]
    for p, m, w in zip(run.flow.parameters(), mean, seen[-1]):
        assert torch.allclose(p, m, atol=1e-6)
    assert any(not torch.allclose(w, m, atol=1e-5) for w, m in zip(seen[-1], mean))


def test_data_of_ones_own_can_be_trained_on_and_scored(small, tmp_path):
    def dots(split):
        generator = torch.Generator().manual_seed(len(split))
        images = torch.randint(0, 4, (60, 2, 4, 4), generator=generator, dtype=torch.uint8)
        return rf.Images(images, torch.zeros(60, dtype=torch.int64), 4)

    experiment = small(dataset=dots, steps=2, validation=10)
    run = rf.fit(experiment, tmp_path)
    assert run.flow.event_shape == (2, 4, 4) and rf.evaluate(run).dataset == "dots"
    assert rf.load_run(tmp_path, experiment=experiment).experiment == experiment


def test_images_of_other_levels_or_another_shape_than_in_training_are_not_scored(small, tmp_path):
    def four(split):
        images = torch.arange(40 * 64, dtype=torch.uint8).view(40, 1, 8, 8) % 4
        levels = 8 if split == "test" else 4
        return rf.Images(images, torch.zeros(40, dtype=torch.int64), levels)

    def wide(split):
        images = torch.arange(40 * 64, dtype=torch.uint8) % 4
        return rf.Images(images.view(40, 1, *((4, 16) if split == "test" else (8, 8))), torch.zeros(40).long(), 4)

    for dataset, told in (
        (four, "four, test: n_levels = 8, but 4 in training"),
        (wide, r"wide, test: images \(1, 4, 16"),
    ):
        run = rf.fit(small(steps=1, dataset=dataset), tmp_path / dataset.__name__)
        with pytest.raises(rf.DataError, match=told):
            rf.evaluate(run)
        assert not (run.directory / "metrics.json").exists()


def test_a_law_of_infinite_variance_is_told_of_with_the_blocks(small, tmp_path):
    run = rf.fit(small(steps=1), tmp_path)
    heavy = rf.PowerSeries(rf.Roulette(rf.Geometric(0.999)))  # needs rho^2 < 0.001
    result = rf.evaluate(run, estimator=heavy, passes=2, n_images=20)
    names = [name for name, m in run.flow.named_modules() if isinstance(m, rf.ResidualBlock)]
    assert result.infinite_variance == names and names[0] in result.warning and "\nwarning: " in str(result)
    for file in ("metrics.json", "ledger.json"):
        assert json.loads((tmp_path / file).read_text())["infinite_variance"] == names
    sound = rf.evaluate(run, estimator=rf.Krylov(5), passes=2, n_images=20)
    assert sound.infinite_variance == [] and sound.warning == "" and "warning" not in str(sound)


def test_a_block_that_expands_is_not_scored(small, tmp_path):
    run = rf.fit(small(steps=1), tmp_path)
    block = next(m for m in run.flow.modules() if isinstance(m, rf.ResidualBlock))
    inner = block.branch
    block.branch = type("Twice", (torch.nn.Module,), {"forward": lambda self, x: 1.5 * x + 0 * inner(x)})()
    with pytest.raises(rf.NotContractiveError):
        rf.evaluate(run)


def test_the_largest_share_is_that_of_the_image_that_counts_most():
    bits = torch.tensor([[1.0, 2.0, 5.0], [1.0, 2.0, 9.0]])
    assert scoring.largest_share(bits) == pytest.approx(0.7)
    assert scoring.largest_share(torch.ones(4)) == 0.25


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (dict(passes=0), "passes = 0: expected a whole number from 1 to 10,000"),
        (dict(passes=True), "passes = True"),
        (dict(n_images=1), "n_images = 1: expected a whole number from 2"),
        (dict(n_images=-3), "n_images = -3"),
        (dict(seed=2**63), "seed = 9223372036854775808: expected .* to 2\\^63 - 1"),
        (dict(estimator=rf.Exact), "estimator = the class Exact"),
        (dict(estimator="krylov"), "estimator = 'krylov'"),
    ],
    ids=str,
)
def test_a_question_that_cannot_be_answered_is_refused_before_anything_is_scored(trained, asked, told):
    with pytest.raises(rf.SettingsError, match=told):
        rf.evaluate(trained if isinstance(trained, rf.Run) else trained[0], **asked)


@pytest.mark.parametrize(
    "asked", [dict(n=0), dict(n=2.5), dict(n=10**12), dict(n=1, temperature=float("inf"))], ids=str
)
@pytest.mark.parametrize("more", [{}, dict(seed=-1)], ids=str)
def test_samples_that_cannot_be_drawn_are_refused(trained, asked, more):
    from resflow_lite.lab.evaluation import sample_levels

    with pytest.raises(rf.SettingsError, match=r"^(n|temperature) = "):
        sample_levels(trained if isinstance(trained, rf.Run) else trained[0], **asked, **more)
