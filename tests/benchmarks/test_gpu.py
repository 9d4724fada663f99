"""The script for a GPU runs, also where there is none."""

import importlib.util
from pathlib import Path

import torch


def test_the_gpus_script_finds_no_error_here_and_prints_its_table(monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("benchmarks_gpu", Path(__file__).with_name("gpu.py"))
    gpu = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(gpu)
    torch.set_default_dtype(torch.float32)
    monkeypatch.setattr(gpu, "DEVICE", torch.device("cpu"))
    monkeypatch.setattr(gpu, "TIMED", 1)
    monkeypatch.setattr("sys.argv", ["gpu.py"])
    assert gpu.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("no GPU: correctness and a small model only")
    assert [line.split()[0] for line in lines[4:7]] == ["fp64", "fp32", "bf16"]
    assert [line[:5] for line in lines[10:]] == ["small"] * 4 and not any("FAILED" in line for line in lines)
    monkeypatch.setitem(gpu.PRECISIONS, "bf16", 1e-9)  # a bound that cannot hold is seen
    assert not gpu.correctness() and "WRONG" in capsys.readouterr().out
