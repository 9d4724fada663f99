"""Small experiments, and the command line in a process of its own."""

import os
import subprocess
import sys

import pytest
import torch

import resflow_lite as rf

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
