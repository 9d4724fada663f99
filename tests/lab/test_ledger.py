"""An entry is whole, true to its run, and never replaced."""

import hashlib
import json
from pathlib import Path

import pytest
import torch

import resflow_lite as rf
from resflow_lite.lab.ledger import SCHEMAS, _command, publish, validate_entry


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    torch.set_default_dtype(torch.float32)
    settings = dict(profile="smoke", steps=4, batch_size=32, blocks=(1,), width=8, n_dense=0, validation=50)
    run = rf.fit(rf.Experiment(**settings), tmp_path_factory.mktemp("run"))
    result = rf.evaluate(run)
    return run, result, json.loads((run.directory / "ledger.json").read_text())


def test_the_entry_says_what_was_done(evaluated):
    run, result, entry = evaluated
    validate_entry(entry)
    assert set(entry) == set(SCHEMAS["density"])
    for name in ("bits_per_dim", "standard_error", "data_error", "noise_error", "lipschitz_bound"):
        assert entry[name] == getattr(result, name)
    assert entry["steps"] == 4 and entry["images_seen"] == 4 * 32 and entry["n_test"] == 297
    assert entry["parameters"] == sum(p.numel() for p in run.flow.parameters())
    assert entry["settings"]["blocks"] == [1] and entry["precision"] == "fp32"
    assert entry["selection_rule"].startswith("best on held-out") and entry["last_step"] == result.last_step
    assert "n_exact=2" in entry["estimator"]["training"] and "n_exact=20" in entry["estimator"]["evaluation"]
    assert entry["hardware"]["device"] in ("cpu", "cuda") and entry["hardware"]["processes"] == 1
    assert entry["wall_seconds"] > 0 and entry["device_hours"] == pytest.approx(entry["wall_seconds"] / 3600)
    weights = (run.directory / "best.safetensors").read_bytes()
    assert entry["checkpoint_sha256"] == hashlib.sha256(weights).hexdigest()
    assert entry["data_sha256"] == rf.load_images("digits", "test").sha256()


WRONG = [
    ("n_test", "many", "n_test = 'many', expected int"),
    ("dirty", 1, "dirty = 1, expected bool"),
    ("n_test", True, "n_test = True, expected int"),
    ("standard_error", -0.1, "standard_error = -0.1, expected a finite number, 0 or more"),
    ("bits_per_dim", float("nan"), "bits_per_dim = nan"),
    ("checkpoint_sha256", "abc", "checkpoint_sha256 = 'abc', expected 64"),
    ("surprise", 1, "unknown fields: surprise"),
]


@pytest.mark.parametrize(("name", "value", "sentence"), WRONG)
def test_an_entry_that_cannot_be_right_is_refused(evaluated, name, value, sentence):
    with pytest.raises(rf.DataError, match=sentence):
        validate_entry({**evaluated[2], name: value})


def test_an_entry_with_a_field_missing_is_refused(evaluated):
    with pytest.raises(rf.DataError, match="missing or unknown fields: commit"):
        validate_entry({name: value for name, value in evaluated[2].items() if name != "commit"})


def test_an_entry_is_published_once(evaluated, tmp_path):
    run, _, entry = evaluated
    path = publish(run.directory, tmp_path / "results")
    assert json.loads(path.read_text()) == entry and path.name.startswith("digits-smoke-seed0-")
    with pytest.raises(rf.DataError, match="is there already"):
        publish(run.directory, tmp_path / "results")


def test_a_part_of_the_test_images_is_not_published(evaluated, tmp_path):
    run, *_ = evaluated
    (tmp_path / "ledger.json").write_text(json.dumps(evaluated[2] | {"n_test": 20}))
    with pytest.raises(rf.DataError, match="about 20 test images, expected all 297"):
        publish(tmp_path, tmp_path / "results")
    with pytest.raises(rf.DataError, match="evaluate the run first"):
        publish(tmp_path / "nowhere", tmp_path / "results")


def test_every_entry_of_the_ledger_is_valid():
    from pathlib import Path

    for path in (Path(__file__).parents[2] / "data" / "results").rglob("*.json"):
        validate_entry(json.loads(path.read_text()))


def test_the_command_names_no_folder_of_the_machine():
    words = ["/home/ada/resflow_lite/__main__.py", "evaluate", "/home/ada/runs/digits", "--publish"]
    assert _command(words) == "python -m resflow_lite evaluate digits --publish"


COMMITTED = sorted((Path(__file__).parents[2] / "data" / "results").rglob("*.json"))


@pytest.mark.parametrize("path", COMMITTED, ids=[path.stem for path in COMMITTED])
def test_every_committed_entry_is_valid_clean_and_named_after_its_weights(path):
    entry = json.loads(path.read_text())
    validate_entry(entry)
    assert not entry["dirty"] and (entry["lipschitz_bound"] is None or entry["lipschitz_bound"] < 1)
    assert path.stem.endswith(f"seed{entry['seed']}-{entry['checkpoint_sha256'][:8]}")
    assert "/" not in entry["command"]
