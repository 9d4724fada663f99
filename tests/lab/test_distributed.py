"""The same training, in however many parts."""

import json
import time

import pytest
import torch
from safetensors.torch import load_file

import resflow_lite as rf
import resflow_lite.lab.training as training
from resflow_lite.lab.checkpoints import load_average
from resflow_lite.lab.machine import PartSeries, part_of_batch
from resflow_lite.lab.runs import read_lines


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
        generator = torch.Generator().manual_seed(4)
        part = PartSeries(estimator.terms, "gaussian", 2, index=index, parts=3).draw(x[:2], generator)
        rows = slice(2 * index, 2 * index + 2)
        assert torch.equal(part.probes, whole.probes[:, rows])
        weights = [w[rows] if per_sample and isinstance(w, torch.Tensor) else w for w in whole.weights.weights]
        assert len(weights) == len(part.weights) > 1
        assert all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(weights, part.weights.weights))


def test_a_batch_in_parts_gives_the_gradient_of_the_batch(small):
    """In float64: the sum over parts of the mean log p and of its gradient is that of the batch."""
    torch.set_default_dtype(torch.float64)
    flow = small(n_dense=1).build((1, 8, 8))
    x = torch.rand(12, 1, 8, 8)
    flow.initialize_(x)
    found = {}
    for parts in (1, 3):
        flow.zero_grad()
        total = 0.0
        for index in range(parts):
            with part_of_batch(flow, index, parts):
                loss = flow.log_prob(x.chunk(parts)[index], torch.Generator().manual_seed(1)).mean() / parts
            loss.backward()
            total += float(loss.detach())
        found[parts] = (total, torch.cat([p.grad.flatten() for p in flow.parameters()]))
    assert abs(found[1][0] - found[3][0]) < 1e-12 * abs(found[1][0])
    assert torch.allclose(found[1][1], found[3][1], rtol=1e-10, atol=1e-12)


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
    assert event["step"] == load_average(stopped / "checkpoint.safetensors")[2] < 60
    whole, resumed = rf.fit(experiment, tmp_path / "whole"), rf.fit(experiment, stopped)
    assert [line["event"] for line in read_lines(stopped / "events.jsonl")[1:]] == ["resumed"]
    assert distance(whole.directory / "model.safetensors", resumed.directory / "model.safetensors") < 1e-4


def test_an_estimator_of_ones_own_trains_in_one_part(small, tmp_path):
    with pytest.raises(rf.SettingsError, match=r"train_estimator = Exact\(\): .*accumulation = 1"):
        rf.fit(small(steps=2, accumulation=2, train_estimator=rf.Exact()), tmp_path)


def test_a_batch_that_cannot_be_shared_out_is_refused(small, monkeypatch, tmp_path):
    world = training.connect()
    monkeypatch.setattr(training, "connect", lambda: type(world)(0, 3, world.device))
    with pytest.raises(
        rf.SettingsError, match="batch_size = 32: expected a multiple of 3 processes x accumulation = 2"
    ):
        rf.fit(small(accumulation=2), tmp_path)
    with pytest.raises(rf.SettingsError, match="accumulation = 5: expected a divisor of batch_size = 32"):
        small(accumulation=5)
