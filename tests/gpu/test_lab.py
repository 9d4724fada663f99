"""The whole path as a user runs it: train, go on after a kill, score, sample, prove."""

import math
import os
import signal
import threading
import time

import pytest
import torch

import resflow_lite as rf
from resflow_lite.lab.capture import Reads
from resflow_lite.lab.machine import connect
from resflow_lite.lab.runs import read_lines
from resflow_lite.lab.stages import begin
from resflow_lite.lab.step import Step, look
from resflow_lite.lab.tasks.registry import task_of
from resflow_lite.numerics import kernels

SMOKE = dict(profile="smoke", batch_size=32, steps=40, warm_up=5, lr=2e-2, validation=100)


@pytest.fixture(scope="module")
def run(gpu, tmp_path_factory):
    return rf.fit(rf.Experiment(**SMOKE), tmp_path_factory.mktemp("run"))


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("memory", ["store", "recompute"])
@pytest.mark.parametrize("estimator", ["roulette", "stratified"])
def test_fit_learns(tmp_path, precision, memory, estimator):
    run = rf.fit(rf.Experiment(**SMOKE, precision=precision, memory=memory, train_estimator=estimator), tmp_path)
    bits = [row["bits_per_dim"] for row in run.history]
    assert len(bits) == 20 and all(map(math.isfinite, bits))
    assert bits[-1] < bits[0] - 0.1
    assert run.flow.certify().holds


def stepped(steps, plain=False, **settings):
    """A step of the smoke model with stratified draws after so many, what it told, and the losses."""
    task, told, losses = task_of(rf.Experiment(**SMOKE, train_estimator="stratified", **settings), connect()), [], []
    step = Step(task, begin(task), told.append)
    step.graphs = None if plain else step.graphs
    for _ in range(steps):
        step()
        losses.append(look(step.state) - sum(losses))
    return step, told, losses


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("memory", ["store", "recompute"])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_step_as_a_graph_is_the_plain_step(precision, memory, accumulation):
    settings = dict(precision=precision, memory=memory, accumulation=accumulation)
    (step, told, losses), (_, _, plain) = stepped(12, **settings), stepped(12, plain=True, **settings)
    assert told == [] and len(step.graphs._kept) > 1
    assert losses[:6] == pytest.approx(plain[:6], rel=1e-2 if precision == "bf16" else 1e-3)
    assert step.terms and len(step.state.draws.terms) == 12 * 3 * accumulation


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_on_a_gpu_reads_nothing_back(precision):
    step, _, _ = stepped(1, plain=True, precision=precision)
    step._draw_()
    with Reads() as reads:
        step._gradient_()
        step._update_()
    assert reads.found == []


def test_what_no_graph_can_hold_is_said_once_and_trains(tmp_path):
    experiment = rf.Experiment(**SMOKE | dict(steps=5), train_estimator="roulette")  # each block draws an N of its own
    run = rf.fit(experiment, tmp_path)
    (event,) = read_lines(tmp_path / "events.jsonl")
    assert run.step == 5 and event["event"].startswith("runs without CUDA graphs")


def test_without_triton_a_step_says_so_and_trains(monkeypatch):
    monkeypatch.setattr(kernels, "_runs_on", lambda device: False)
    step, told, losses = stepped(3)
    assert len(told) == 1 and "Triton" in told[0] and all(map(math.isfinite, losses))


def test_the_bias_is_reported_where_the_images_lie(gpu, run):
    x = torch.rand(4, 1, 8, 8)
    other = rf.bias_report(run.flow.cpu(), x)
    mine = rf.bias_report(run, x.to(gpu))
    for row, exact in zip(mine.rows, other.rows, strict=True):
        assert row.exact and row.log_det == pytest.approx(exact.log_det, abs=1e-6)
    assert next(run.flow.parameters()).device.type == "cpu"  # a copy was moved


def test_a_gpu_trains_as_a_cpu_does(monkeypatch, run, tmp_path):
    """Other probes and other rounding: the same curve, not the same numbers."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    other = rf.fit(run.experiment, tmp_path)
    for name in ("bits_per_dim", "validation"):
        assert run.history[-1][name] == pytest.approx(other.history[-1][name], abs=0.15)


@pytest.mark.parametrize("estimator", ["roulette", "stratified"])
def test_a_run_that_was_stopped_goes_on(tmp_path, estimator):
    """SIGTERM after the first checkpoint; until fit is called again, the half-finished run can be scored."""
    experiment = rf.Experiment(**SMOKE | dict(steps=400), train_estimator=estimator)

    def terminate():
        deadline = time.monotonic() + 120
        while not (tmp_path / "checkpoint.safetensors").exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, lambda *_: None)  # a signal that comes too late does no harm
    try:
        threading.Thread(target=terminate, daemon=True).start()
        with pytest.raises(rf.ResflowError, match="SIGTERM"):
            rf.fit(experiment, tmp_path)
    finally:
        signal.signal(signal.SIGTERM, before)
    half = rf.load_run(tmp_path)
    assert half.weights == "unfinished" and 0 < half.step < 400
    assert math.isfinite(rf.evaluate(half, n_images=50).bits_per_dim)
    whole = rf.fit(experiment, tmp_path)
    steps = [row["step"] for row in whole.history]
    assert steps == sorted(set(steps)) and steps[-1] == 400
    assert whole.history[-1]["bits_per_dim"] < whole.history[0]["bits_per_dim"] - 0.3


def test_a_score_on_a_gpu_is_that_on_a_cpu(monkeypatch, run):
    """Of the same images, within the noise of dequantisation and probes."""
    mine = rf.evaluate(run, passes=4, n_images=200)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    other = rf.evaluate(run, passes=4, n_images=200)
    assert abs(mine.bits_per_dim - other.bits_per_dim) < 4 * math.hypot(mine.noise_error, other.noise_error)
    assert mine.lipschitz_bound == pytest.approx(other.lipschitz_bound, rel=1e-5) and mine.lipschitz_bound < 1
    assert mine.reconstruction_error < 1e-3


def test_samples_are_images_and_go_back_to_their_noise(gpu, run):
    flow = run.flow.to(gpu)
    x = flow.sample(64, torch.Generator().manual_seed(0))
    assert x.device.type == gpu.type and x.shape == (64, 1, 8, 8) and 0 <= float(x.min()) and float(x.max()) <= 1
    z, _ = flow.encode(x, torch.Generator().manual_seed(0))
    assert float((flow.decode(z) - x).abs().max()) < 1e-3


def test_the_proof_is_the_same_where_the_flow_lies(gpu, run):
    exact = run.flow.cpu().certify()
    assert exact.holds and run.flow.to(gpu).certify().bounds == pytest.approx(exact.bounds, rel=1e-5)
