"""An entry is whole, true to its run, and never replaced."""

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch

import resflow_lite as rf
from resflow_lite.lab.ledger import SCHEMAS, _command, publish, read_ledger, validate_entry
from resflow_lite.lab.package_data import shipped
from resflow_lite.lab.tables import Table


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
    assert set(entry) == set(SCHEMAS["density"]) | {"largest_share", "objective", "cpu_seconds"}
    for name in ("bits_per_dim", "standard_error", "data_error", "noise_error", "lipschitz_bound"):
        assert entry[name] == getattr(result, name)
    assert entry["steps"] == 4 and entry["images_seen"] == 4 * 32 and entry["n_test"] == 297
    assert entry["parameters"] == sum(p.numel() for p in run.flow.parameters())
    assert entry["settings"]["blocks"] == [1] and entry["precision"] == "fp32"
    assert entry["selection_rule"].startswith("best on held-out") and entry["last_step"] == result.last_step
    assert "n_exact=2" in entry["estimator"]["training"] and entry["estimator"]["evaluation"] == "Exact()"
    assert 0 < entry["cpu_seconds"] and entry["largest_share"] == result.largest_share
    assert entry["hardware"]["device"] in ("cpu", "cuda") and entry["hardware"]["processes"] == 1
    assert entry["wall_seconds"] > 0 and entry["device_hours"] == pytest.approx(entry["wall_seconds"] / 3600)
    weights = (run.directory / "best.safetensors").read_bytes()
    assert entry["checkpoint_sha256"] == hashlib.sha256(weights).hexdigest()
    assert entry["data_sha256"] == rf.load_images("digits", "test").sha256()


WRONG = [
    ("n_test", "many", "n_test = 'many', expected a whole number from 1"),
    ("dirty", 1, "dirty = 1, expected True or False"),
    ("n_test", True, "n_test = True, expected a whole number"),
    ("standard_error", -0.1, "standard_error = -0.1, expected a finite number, 0 or more"),
    ("bits_per_dim", float("nan"), "bits_per_dim = nan"),
    ("checkpoint_sha256", "abc", "checkpoint_sha256 = 'abc', expected 64"),
    ("surprise", 1, "unknown fields: surprise"),
    ("last_step", ["x", None], "last_step = .*expected a list of numbers"),
    ("failures", [5], "failures = .*expected a list of texts"),
    ("curve", ["x"], "curve = .*expected a list of rows"),
    ("hardware", dict(device="cpu", name="a", processes="two"), "hardware = .*expected 1 or more processes"),
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
    proven = entry["lipschitz_bound"] is None or entry["lipschitz_bound"] < 1
    assert not entry["dirty"] and (proven or "source" in entry)  # the authors' weights are scored as they are
    assert path.stem.endswith(f"seed{entry['seed']}-{entry['checkpoint_sha256'][:8]}")
    assert "/" not in entry["command"]


IMPOSSIBLE = [
    (dict(n_test=0), "n_test = 0, expected a whole number from 1"),
    (dict(steps=-7), "steps = -7, expected a whole number from 0"),
    (dict(seed=2**64), "seed = 18446744073709551616, expected a whole number from 0 to 2\\^63 - 1"),
    (dict(estimator={"passes": 1}), "estimator = .*expected training, evaluation in it"),
    (dict(hardware={"name": "x"}), "hardware = .*expected device, name, processes in it"),
    (dict(task=["toy"]), r"task = \['toy'\], expected one of"),
    (dict(source={"kind": "released"}), "source = .*expected kind, file, sha256, reported in it"),
    (dict(infinite_variance="all"), "infinite_variance = 'all', expected a list"),
    (dict(settings=dict(dataset="../up", profile="smoke")), "dataset = '../up', expected the name of a data set"),
    (dict(settings=dict(dataset="/etc", profile="smoke")), "dataset = '/etc'"),
    (dict(settings=dict(dataset=["digits"], profile="smoke")), r"dataset = \['digits'\]"),
    (dict(settings=dict(dataset="digits")), "profile = None, expected one of smoke"),
    (dict(settings=dict(dataset="digits", profile="../smoke")), "profile = '../smoke'"),
    (dict(settings=dict(dataset="digits", profile="smoke", system={})), "system = {}, expected a name or null"),
]


@pytest.mark.parametrize(("changes", "told"), IMPOSSIBLE, ids=[told for _, told in IMPOSSIBLE])
def test_an_impossible_field_is_refused_with_the_file_and_the_field(made_up_entry, tmp_path, changes, told):
    (tmp_path / "mine.json").write_text(json.dumps(made_up_entry() | changes))
    with pytest.raises(rf.DataError, match=f"mine.json: ledger entry: .*{told}"):
        read_ledger(tmp_path)
    (tmp_path / "mine.json").rename(tmp_path / "ledger.json")
    with pytest.raises(rf.DataError, match=f"ledger.json: ledger entry: .*{told}"):
        publish(tmp_path, tmp_path / "results")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("content", ["", "[1]", "null", "12", '"entry"', '{"commit": ', "[" * 50_000])
def test_a_file_of_the_ledger_that_is_no_entry_is_named(tmp_path, content):
    (tmp_path / "other.json").write_text(content)
    with pytest.raises(rf.DataError, match="other.json cannot be read"):
        read_ledger(tmp_path)


def test_a_label_never_leaves_the_ledgers_folder(made_up_entry, tmp_path):
    settings = dict(dataset="dots", profile="smoke")
    (tmp_path / "ledger.json").write_text(json.dumps(made_up_entry(settings=settings)))
    path = publish(tmp_path, tmp_path / "results", "../../wide | <b>")
    assert path.parent == tmp_path / "results" and "/" not in path.name and "<" not in path.name


def test_names_in_tables_are_escaped():
    table = str(Table(["a | b"], [["<img src=x>"], ["two\nlines"], ["[here](http://x)"]]))
    assert table.splitlines()[0] == "| a \\| b |" and len(table.splitlines()) == 5
    assert "<" not in table and "](" not in table


def test_weights_whose_file_tells_no_hardware_can_be_scored(evaluated, tmp_path):
    run, *_ = evaluated
    facts = {name: value for name, value in run.facts.items() if name != "hardware"}
    rf.evaluate(dataclasses.replace(run, facts=facts), passes=1)
    assert json.loads((run.directory / "ledger.json").read_text())["hardware"]["device"] == "unknown"


def test_an_empty_name_is_the_projects_own_ledger_and_not_this_folder():
    """As the results page passes it on: the entries of the folder that a notebook lies in would be none."""
    assert len(read_ledger("")) == len(read_ledger(None)) >= len(COMMITTED)


def test_a_copy_of_the_projects_ledger_and_one_more_entry_count_once_each(evaluated, tmp_path, monkeypatch):
    """Another clone, or a copy of data/, named by RESFLOW_HOME."""
    run, *_ = evaluated
    before = [entry.facts for entry in read_ledger()]
    shutil.copytree(shipped("results"), tmp_path / "data" / "results")
    monkeypatch.setenv("RESFLOW_HOME", str(tmp_path))
    assert [entry.facts for entry in read_ledger()] == before
    publish(run.directory, tmp_path / "data" / "results", "mine")
    assert [entry.label for entry in read_ledger() if entry.facts not in before] == ["mine"]
