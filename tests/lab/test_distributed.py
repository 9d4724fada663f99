"""The same training, in however many parts."""

import hashlib
import json
import time

import pytest
import torch
from safetensors.torch import load_file

import resflow_lite as rf
import resflow_lite.lab.training as training
from resflow_lite.estimators.noise import Noise
from resflow_lite.lab.checkpoints import facts_of
from resflow_lite.lab.files import read_lines
from resflow_lite.lab.machine import World
from resflow_lite.lab.stages import begin
from resflow_lite.lab.step import Step
from resflow_lite.lab.tasks.density import Density
from resflow_lite.lab.tasks.hybrid import Hybrid
from resflow_lite.lab.tasks.plane import Plane
from resflow_lite.lab.tasks.registry import task_of

CPU = World(0, 1, torch.device("cpu"))


def distance(one, other):
    """Largest difference of any weight."""
    a, b = load_file(one), load_file(other)
    return max(float((a[n] - b[n]).abs().max()) for n in a if n.endswith(("weight", "bias", "shift", "log_scale")))


@pytest.mark.parametrize("per_sample", [False, True])
def test_a_part_draws_its_rows_of_the_whole_batch(per_sample):
    estimator = rf.PowerSeries(rf.Roulette(rf.Geometric(0.3), n_exact=1, per_sample=per_sample), "gaussian", n_probes=2)
    x = torch.zeros(6, 3)
    whole = estimator.draw(x, torch.Generator().manual_seed(4))
    for index in range(3):
        noise = Noise()
        noise.manual_seed(4)
        noise.part, noise.parts = index, 3
        part = estimator.draw(x[:2], noise)
        assert torch.equal(part.probes, whole.probes[:, index::3])
        weights = [w[index::3] if isinstance(w, torch.Tensor) else w for w in whole.weights]
        # a part runs to its own largest N; past it the weights are 0
        assert all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(weights, part.weights))
        assert all(not torch.as_tensor(w).any() for w in weights[len(part.weights) :]) and len(part.weights) > 1


class InDouble(Density):
    """The images of a density in float64."""

    def start(self, noise):
        return super().start(noise).double()

    def batch(self, step, noise):
        return super().batch(step, noise).double()


class Variational(InDouble):
    """With noise that is learned: the batch is levels, and the loss has the dequantizer's draws."""

    def batch(self, step, noise):
        return (super().batch(step, noise) * self.data.n_levels).long()

    def loss(self, flow, batch, draws):
        if not hasattr(flow, "dequantizer"):
            torch.manual_seed(0)
            flow.dequantizer = rf.VariationalDequantizer(self.shape, n_blocks=2, width=4).double()
            for net in flow.dequantizer.parameters():
                torch.nn.init.normal_(net, std=0.1)
        x, log_q = flow.dequantizer(batch, self.data.n_levels, draws)
        bits = rf.bits_per_dim(flow.log_prob(x, draws) - log_q, flow.event_shape, self.data.n_levels)
        return bits.mean()


def first_gradient(task, state):
    """The loss of the first step; its gradient is left at the parameters."""
    step = Step(task, state)
    step._draw_()
    step._gradient_()
    return step.loss


def loss_and_gradient(task, draws):
    """Of the first step; draws: how many times each generator was used does not depend on the parts."""
    state = begin(task)
    for layer in (m for m in state.flow.modules() if isinstance(m, rf.ContinuousFlow)):
        layer.tol = 1e-9  # the solver chooses its steps for a batch: parts agree to its tolerance
    loss = first_gradient(task, state)
    draws.append((state.data.get_state(), state.draws.get_state()))
    gradient = [p.grad.flatten() for p in state.flow.parameters() if p.grad is not None]
    return float(loss), torch.cat(gradient)


KINDS = {
    name: dict(system=name, parameters=5_000 if name == "ffjord" else 20_000, blocks=(1, 1)) for name in rf.systems
}
KINDS |= {
    "noise channels": dict(padding=2),
    "one N for each image": dict(train_estimator=rf.PowerSeries(rf.Roulette(per_sample=True), "gaussian", 2)),
    "quantiles of the law": dict(draws="stratified"),
    "matched law": dict(train_estimator="matched"),
    "flips, by epochs": dict(flip=True, sampling="epochs"),
    "learned noise": dict(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_in_parts_gives_the_loss_and_the_gradient_of_the_batch(small, kind):
    """In float64, for passes one after the other. Every system with its own draws: probes, numbers of terms, noise."""
    torch.set_default_dtype(torch.float64)
    own = dict(width=None, n_dense=None, dense_width=None) if "system" in KINDS[kind] else {}
    make, found, draws = Variational if kind == "learned noise" else InDouble, {}, []
    for parts in (1, 2, 4):
        task = make(small(batch_size=8, accumulation=parts, **(own | KINDS[kind])), CPU)
        found[parts] = loss_and_gradient(task, draws)
    for parts in (2, 4):
        assert found[parts][0] == pytest.approx(found[1][0], rel=1e-7 if kind == "ffjord" else 1e-12)
        error = (found[parts][1] - found[1][1]).norm() / found[1][1].norm()
        assert error < (1e-6 if kind == "ffjord" else 1e-10)
    assert all(torch.equal(a, b) for other in draws[1:] for a, b in zip(other, draws[0]))


@pytest.mark.parametrize("kind", ["ToyExperiment", "HybridExperiment"])
def test_parts_of_points_and_of_labelled_images_are_those_of_the_batch(tiny, kind):
    found = {}
    for parts in (1, 2, 4):
        task = task_of(getattr(rf, kind)(**tiny[kind], accumulation=parts), CPU)
        state = begin(task)
        loss = first_gradient(task, state)
        found[parts] = float(loss), torch.cat([p.grad.flatten() for p in state.flow.parameters()])
    for parts in (2, 4):
        assert found[parts][0] == pytest.approx(found[1][0], rel=1e-5)
        assert (found[parts][1] - found[1][1]).norm() < 1e-4 * found[1][1].norm()


def hashes_of_batches(task_class, monkeypatch, runs):
    """The SHA-256 of every batch of every run of a task."""
    original, seen = task_class.loss, []

    def loss(task, flow, batch, draws):
        tensors = batch if isinstance(batch, tuple) else (batch,)
        seen[-1].append(hashlib.sha256(b"".join(t.numpy().tobytes() for t in tensors)).hexdigest())
        return original(task, flow, batch, draws)

    monkeypatch.setattr(task_class, "loss", loss)
    for experiment, folder in runs:
        seen.append([])
        rf.fit(experiment, folder)
    return seen


def test_systems_of_one_seed_see_the_same_batches_flips_and_noise_to_the_last_step(small, monkeypatch, tmp_path):
    own = dict(width=None, n_dense=None, dense_width=None, parameters=20_000, blocks=(1, 1), flip=True)
    runs = [(small(steps=4, system=name, **own), tmp_path / name) for name in rf.systems]
    runs += [(small(steps=4, flip=True, padding=1, n_exact=7), tmp_path / "padded")]
    runs += [(small(steps=4, flip=True, seed=1), tmp_path / "other")]
    *same, other = hashes_of_batches(Density, monkeypatch, runs)
    assert len(set(same[0])) == 4 and all(hashes == same[0] for hashes in same)
    assert not set(other) & set(same[0])


def test_points_and_labelled_images_are_the_same_for_all_models(tiny, monkeypatch, tmp_path):
    few = tiny["ToyExperiment"] | dict(steps=3)
    runs = [(rf.ToyExperiment(**few, system=name), tmp_path / name) for name in rf.systems]
    points = hashes_of_batches(Plane, monkeypatch, runs)
    few = tiny["HybridExperiment"] | dict(steps=3)
    runs = [(rf.HybridExperiment(**few, kind=kind), tmp_path / kind) for kind in rf.hybrid_kinds]
    images = hashes_of_batches(Hybrid, monkeypatch, runs)
    for seen in (points, images):
        assert len(set(seen[0])) == 3 and all(hashes == seen[0] for hashes in seen)


def test_accumulation_is_the_larger_batch(small, tmp_path):
    """Six steps; each has its gradient to rounding, so that the weights are the same to a small part of their way."""
    runs = {}
    for accumulation in (1, 4):
        folder = tmp_path / str(accumulation)
        runs[accumulation] = rf.fit(small(steps=6, accumulation=accumulation), folder)
    other = rf.fit(small(steps=6, seed=0, batch_size=24), tmp_path / "other")
    a, b = (tmp_path / name / "model.safetensors" for name in ("1", "4"))
    assert distance(a, b) < 1e-5 < 1e-3 < distance(a, other.directory / "model.safetensors")
    for one, four in zip(runs[1].history, runs[4].history):
        assert abs(one["bits_per_dim"] - four["bits_per_dim"]) < 1e-5


def test_two_processes_equal_one(command, tmp_path):
    """torchrun and gloo: the same global batches, the same noise, and the parameters of one process to rounding."""
    folders = {n: tmp_path / str(n) for n in (1, 2)}
    for n, folder in folders.items():
        process = command("fit", "--run-dir", folder, processes=n, steps=6, validation=40)
        told, _ = process.communicate()
        assert process.returncode == 0 and told.count("/model.safetensors") == 1, told  # one process speaks
    one, two = (rf.load_run(folder) for folder in folders.values())
    assert distance(one.directory / "model.safetensors", two.directory / "model.safetensors") < 1e-5
    for row, same in zip(one.history, two.history, strict=True):
        for value in ("bits_per_dim", "validation", "contraction"):
            assert abs(row[value] - same[value]) < 1e-4 * abs(row[value]), (row, same)
    alone = rf.evaluate(two)
    process = command("evaluate", two.directory, processes=2)
    told, _ = process.communicate()
    assert process.returncode == 0 and told.count("test bits/dim") == 1, told
    assert abs(json.loads((two.directory / "metrics.json").read_text())["bits_per_dim"] - alone.bits_per_dim) < 1e-6


def test_a_job_that_a_queue_stops_goes_on_with_another_number_of_processes(command, small, tmp_path):
    """SIGTERM to torchrun, which hands it on: both processes stop after the same step, with a checkpoint. One process
    goes on from there, and ends where one that nobody stopped ends, to rounding."""
    experiment, stopped = small(steps=60, blocks=(1, 1)), tmp_path / "stopped"
    process = command("fit", "--run-dir", stopped, processes=2, steps=60)
    while not (stopped / "checkpoint.safetensors").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.terminate()
    told, _ = process.communicate()
    (event,) = read_lines(stopped / "events.jsonl")
    assert process.returncode != 0 and event["event"].startswith("SIGTERM"), told
    assert event["step"] == facts_of(stopped / "checkpoint.safetensors")["step"] < 60
    whole, resumed = rf.fit(experiment, tmp_path / "whole"), rf.fit(experiment, stopped)
    assert [line["event"] for line in read_lines(stopped / "events.jsonl")[1:]] == ["resumed"]
    assert distance(whole.directory / "model.safetensors", resumed.directory / "model.safetensors") < 1e-4


@pytest.mark.parametrize("kind", ["ToyExperiment", "HybridExperiment"])
def test_two_processes_train_points_and_labelled_images_as_one(training_process, tmp_path, kind):
    folders = {n: tmp_path / str(n) for n in (1, 2)}
    for n, folder in folders.items():
        process = training_process(kind, folder, processes=n, steps=6)
        told, _ = process.communicate()
        assert process.returncode == 0, told
    assert distance(*(folder / "model.safetensors" for folder in folders.values())) < 1e-5
    first, second = (read_lines(folders[2] / f"rank{rank}.jsonl") for rank in (0, 1))
    alone = read_lines(folders[1] / "training.jsonl")
    for a, b, one in zip(first, second, alone, strict=True):
        # measured on the same points or images in both, not on those of their own part of a batch
        assert a["contraction"] == b["contraction"] and a["loss"] == b["loss"]
        assert a["contraction"] == pytest.approx(one["contraction"], rel=1e-4)
        assert a["loss"] == pytest.approx(one["loss"], rel=1e-4)


def test_an_estimator_of_ones_own_trains_in_one_part(small, tmp_path):
    class Own:
        def __init__(self):
            self.exact = rf.Exact()

        def draw(self, x, generator=None):
            return None

        def estimate(self, g, draw):
            return self.exact.estimate(g, draw)

        def __repr__(self):
            return "Own()"

    with pytest.raises(rf.SettingsError, match=r"train_estimator = Own\(\): .*accumulation = 1"):
        rf.fit(small(steps=2, accumulation=2, train_estimator=Own()), tmp_path / "parts")
    assert not (tmp_path / "parts" / "experiment.json").exists()  # nothing has begun
    assert rf.fit(small(steps=2, train_estimator=Own()), tmp_path).step == 2
    assert rf.fit(small(steps=2, accumulation=2, train_estimator=rf.Exact()), tmp_path / "exact").step == 2


def test_a_batch_that_cannot_be_shared_out_is_refused(small, monkeypatch, tmp_path):
    world = training.connect()
    monkeypatch.setattr(training, "connect", lambda device: type(world)(0, 3, world.device))
    with pytest.raises(
        rf.SettingsError, match="batch_size = 32: expected a multiple of 3 processes x accumulation = 2"
    ):
        rf.fit(small(accumulation=2), tmp_path)
    with pytest.raises(rf.SettingsError, match="accumulation = 5: expected a divisor of batch_size = 32"):
        small(accumulation=5)
