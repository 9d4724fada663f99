"""What the README shows must run."""

import re
from pathlib import Path

import torch

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_example_runs_and_its_estimates_agree(capsys):
    torch.set_default_dtype(torch.float32)
    (example,) = re.findall(r"```python\n(import torch.*?)```", README, flags=re.DOTALL)
    names = {}
    exec(example, names)
    assert "proven" in capsys.readouterr().out
    assert abs(names["fair"].value.mean() - names["truth"].value.mean()) < 0.01
    assert (names["log_p"] < 0).any() and names["log_p"].shape == (2000,)
