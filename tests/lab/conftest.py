"""Small experiments, and the command line in a process of its own."""

import json
import os
import subprocess
import sys

import pytest
import torch

import resflow_lite as rf

if os.name == "nt":  # a signal there ends the process that should hear it, and these send some
    names = ("commands", "distributed", "endings", "files", "resuming", "settings", "sweeps")
    collect_ignore = [f"test_{name}.py" for name in names]

SMALL = dict(profile="smoke", batch_size=32, blocks=(1,), width=8, n_dense=0, dense_width=8, warm_up=2, validation=0)


@pytest.fixture(autouse=True)
def single_precision(double_precision):
    """Training is in float32."""
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def small():
    """An Experiment whose steps take milliseconds."""

    def build(**settings):
        return rf.Experiment(**(SMALL | settings))

    return build


@pytest.fixture
def command():
    """Starts `python -m resflow_lite VERB ...`, under torchrun if processes > 1; `fit` with the settings of `small`."""

    def start(verb, *words, processes=1, **settings):
        launch = (
            ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
        )
        chosen = SMALL | settings if verb == "fit" else {}
        chosen = {name: value for name, value in chosen.items() if name != "blocks"}
        flags = [word for name, value in chosen.items() for word in ("-p", name, str(value))]
        line = [sys.executable, *launch, "-m", "resflow_lite", verb, *map(str, words), *flags]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    return start


@pytest.fixture
def same_weights():
    """Whether two files hold the same tensors, bit by bit."""
    from safetensors.torch import load_file

    def compare(one, other):
        a, b = load_file(one), load_file(other)
        return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)

    return compare


FIT = """
import json, sys
import resflow_lite as rf
import resflow_lite.lab.training as training

record = training.record

def told(task, state, directory):
    row = record(task, state, directory)
    with open(f"{directory}/rank{task.world.rank}.jsonl", "a") as file:
        file.write(json.dumps(row) + "\\n")
    return row

training.record = told
rf.fit(getattr(rf, sys.argv[1])(**json.loads(sys.argv[2])), sys.argv[3])
"""

TINY = {
    "Experiment": SMALL | dict(blocks=[1]),
    "ToyExperiment": dict(profile="smoke", dataset="moons", batch_size=32),
    "HybridExperiment": dict(profile="smoke", batch_size=32, parameters=4_000, head_width=4),
}
"""Settings of each task whose steps take milliseconds."""


@pytest.fixture
def tiny():
    return TINY


@pytest.fixture
def training_process():
    """Starts rf.fit in processes of its own, by the settings in TINY; each writes the lines of its record, too."""

    def start(kind, directory, processes=1, **settings):
        launch = (
            ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
        )
        script = directory.parent / "fit.py"
        script.write_text(FIT)
        words = [kind, json.dumps(TINY[kind] | settings), str(directory)]
        line = [sys.executable, *launch, str(script), *words]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    return start
