"""The whole path as a user runs it: train, go on after a kill, score, sample, prove."""

import math
import os
import signal
import threading
import time

import pytest
import torch

import resflow_lite as rf

SMOKE = dict(profile="smoke", batch_size=32, steps=40, warm_up=5, lr=2e-2, validation=100)


@pytest.fixture(scope="module")
def run(gpu, tmp_path_factory):
    return rf.fit(rf.Experiment(**SMOKE), tmp_path_factory.mktemp("run"))


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("memory", ["store", "recompute"])
def test_fit_learns(tmp_path, precision, memory):
    run = rf.fit(rf.Experiment(**SMOKE, precision=precision, memory=memory), tmp_path)
    bits = [row["bits_per_dim"] for row in run.history]
    assert len(bits) == 20 and all(map(math.isfinite, bits))
    assert bits[-1] < bits[0] - 0.1
    assert run.flow.certify().holds


def test_a_gpu_trains_as_a_cpu_does(monkeypatch, run, tmp_path):
    """Other probes and other rounding: the same curve, not the same numbers."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    other = rf.fit(run.experiment, tmp_path)
    for name in ("bits_per_dim", "validation"):
        assert run.history[-1][name] == pytest.approx(other.history[-1][name], abs=0.15)


def test_a_run_that_was_stopped_goes_on(tmp_path):
    """SIGTERM after the first checkpoint; until fit is called again, the half-finished run can be scored."""
    experiment = rf.Experiment(**SMOKE | dict(steps=400))

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
    assert mine.lipschitz_bound == other.lipschitz_bound < 1
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
