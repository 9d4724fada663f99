"""A training of any task that is killed at a chosen point, or finds the disk full there, loses nothing.

A point is a moment before a call of the system that changes a file, or before or after a step.
"""

import errno
import json
import os
import random
import signal
import subprocess
from contextlib import contextmanager

import pytest
import torch

import resflow_lite as rf
import resflow_lite.lab.files as files
import resflow_lite.lab.step as step
from resflow_lite.__main__ import main
from resflow_lite.lab.checkpoints import facts_of
from resflow_lite.lab.files import NotWritten, read_lines

TASKS = {
    "density": ("Experiment", dict(validation=20)),
    "plane": ("ToyExperiment", {}),
    "hybrid": ("HybridExperiment", {}),
}
STEPS = 20


@pytest.fixture(params=TASKS)
def experiment(request, tiny):
    kind, more = TASKS[request.param]
    return getattr(rf, kind)(**tiny[kind] | more | dict(steps=STEPS))


@contextmanager
def points(act):
    """Inside, act(n) is called at point n = 1, 2, ..."""
    names, counter = ((files.os, "fsync"), (files.os, "replace"), (files.os, "truncate"), (step, "update_norms_")), [0]
    kept = [getattr(module, name) for module, name in names]

    def before(function):
        def call(*args):
            for _ in range(2 if function is kept[-1] else 1):  # within a step, twice: before and after its last part
                counter[0] += 1
                act(counter[0])
            return function(*args)

        return call

    for (module, name), function in zip(names, kept):
        setattr(module, name, before(function))
    try:
        yield counter
    finally:
        for (module, name), function in zip(names, kept):
            setattr(module, name, function)


def in_a_process(function):
    """The signal that ended it, or 0. Forked: to import everything again would take seconds."""
    child = os.fork()
    if child == 0:
        try:
            function()
            os._exit(0)
        except BaseException:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), f"the training failed, {status}"
    return status


@pytest.mark.skipif(torch.cuda.is_available(), reason="a process that holds a GPU cannot be forked")
@pytest.mark.parametrize("kills", [4, pytest.param(25, marks=pytest.mark.slow)])
def test_killed_at_chosen_points_nothing_is_lost(experiment, same_weights, tmp_path, kills):
    with points(lambda n: None) as counter:
        rf.fit(experiment, tmp_path / "whole")
    chosen = random.Random(0).sample(range(1, counter[0] + 1), kills)
    for point in chosen:
        folder = tmp_path / str(point)

        def killed(point=point, folder=folder):
            with points(lambda n: n == point and os.kill(os.getpid(), signal.SIGKILL)):
                rf.fit(experiment, folder)

        assert in_a_process(killed) == signal.SIGKILL
        rf.fit(experiment, folder)
        for file in ("model.safetensors", *(["best.safetensors"] if experiment.validation else [])):
            assert same_weights(tmp_path / "whole" / file, folder / file), point
        assert [row["step"] for row in read_lines(folder / "training.jsonl")] == list(range(1, STEPS + 1))
        assert not list(folder.glob("*.unfinished"))


@pytest.fixture
def disk(tmp_path):
    """A disk of its own of 2 MB, where that may be made; else a folder on which writing fails. (folder, fill, free)"""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("a disk to be filled may not be mounted here")
    filler = folder / "filler"

    def fill():
        with filler.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError as error:
                assert error.errno == errno.ENOSPC

    yield folder, fill, lambda: filler.unlink(missing_ok=True)
    subprocess.run(["umount", str(folder)], check=True)


def test_on_a_disk_that_is_really_full_every_verb_keeps_what_was_there(
    experiment, disk, same_weights, tmp_path, capsys
):
    folder, fill, free = disk
    run = folder / "run"
    whole = rf.fit(experiment, tmp_path / "whole")
    with pytest.raises(NotWritten, match=r"No space left on device: [\d,]+ bytes to write, [\d,]+ more than are free"):
        rf.fit(experiment, run, on_record=lambda row: row["step"] == 7 and fill())
    assert facts_of(run / "checkpoint.safetensors")["step"] == 6 and not list(run.glob("*.unfinished"))
    free()
    assert rf.fit(experiment, run).step == whole.step
    assert same_weights(tmp_path / "whole" / "model.safetensors", run / "model.safetensors")
    for verb in ("evaluate", "sample") if type(experiment) is not rf.ToyExperiment else ("evaluate",):
        before = {file.name: file.read_bytes() for file in run.glob("[!.]*")}
        fill()
        assert main([verb, str(run)]) == 1
        (told,) = capsys.readouterr().err.strip().splitlines()[-1:]
        assert "No space left on device" in told and "more than are free" in told
        assert {file.name: file.read_bytes() for file in run.glob("[!.]*")} == before
        free()
        assert main([verb, str(run)]) == 0
    assert json.loads((run / "metrics.json").read_text())["task"]


@pytest.mark.parametrize("after", [1, 2, 9, 14])
def test_a_write_that_fails_midway_is_our_failure_and_the_run_goes_on_from_there(
    experiment, monkeypatch, same_weights, tmp_path, after
):
    """The same without a disk of its own: the n-th file is not written."""
    rf.fit(experiment, tmp_path / "whole")
    sync, count = os.fsync, iter(range(1, 10**6))

    def fsync(number):
        if next(count) >= after:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(number)

    with monkeypatch.context() as patch, pytest.raises(NotWritten, match="bytes to write"):
        patch.setattr(files.os, "fsync", fsync)
        rf.fit(experiment, tmp_path / "run")
    rf.fit(experiment, tmp_path / "run")
    assert same_weights(tmp_path / "whole" / "model.safetensors", tmp_path / "run" / "model.safetensors")
