"""A file of a run is written whole or not at all; one that is not what it was is refused in a sentence."""

import errno
import json
import math
import os
import random
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import resflow_lite as rf
import resflow_lite.lab.files as files
from resflow_lite.__main__ import main
from resflow_lite.lab.checkpoints import facts_of, load_flow, load_weights
from resflow_lite.lab.files import NotWritten, add_line, as_json, read_json, read_lines, write_whole
from resflow_lite.lab.machine import Interrupted, Signals, Stopped
from resflow_lite.lab.runs import claim
from resflow_lite.lab.sealed import write_sealed

SMALL = dict(profile="smoke", steps=4, batch_size=32, blocks=(1,), width=8, n_dense=0, warm_up=2, validation=0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    torch.set_default_dtype(torch.float32)
    return rf.fit(rf.Experiment(**SMALL), tmp_path_factory.mktemp("run"))


@pytest.fixture
def folder(trained, tmp_path):
    """A copy of the finished run, to be damaged."""
    for file in trained.directory.glob("[!.]*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


@pytest.fixture
def full_disk(monkeypatch):
    """From the given number of whole files on, the disk is full; inside a `with` block alone, if there is one."""

    @contextmanager
    def room_again():
        yield
        monkeypatch.undo()

    def fill(after=0):
        sync, count = os.fsync, iter(range(10**6))

        def fsync(number):
            if next(count) >= after:
                raise OSError(errno.ENOSPC, "No space left on device")
            sync(number)

        monkeypatch.setattr(files.os, "fsync", fsync)
        return room_again()

    return fill


# writing


def test_a_full_disk_keeps_what_was_there_and_says_what_is_missing(full_disk, monkeypatch, tmp_path):
    path = tmp_path / "metrics.json"
    write_whole(path, b"before")
    full_disk()
    with pytest.raises(NotWritten, match=r"metrics.json cannot be written \(No space left on device: 5 bytes to write"):
        write_whole(path, b"after")
    monkeypatch.setattr(files.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10_000, 8_000, 2_000))
    with pytest.raises(NotWritten, match=r"50,000 bytes to write, 48,000 more than are free\)"):
        write_whole(path, bytes(50_000))
    assert path.read_bytes() == b"before" and [file.name for file in tmp_path.iterdir()] == ["metrics.json"]


def test_a_disk_that_fills_up_in_training_keeps_the_last_good_checkpoint(small, full_disk, same_weights, tmp_path):
    whole = rf.fit(small(steps=40), tmp_path / "whole")
    with full_disk(after=8), pytest.raises(NotWritten, match="No space left"):
        rf.fit(small(steps=40), tmp_path / "full")
    step = facts_of(tmp_path / "full" / "checkpoint.safetensors")["step"]
    assert 0 < step < 40
    assert rf.fit(small(steps=40), tmp_path / "full").step == whole.step
    assert same_weights(tmp_path / "whole" / "model.safetensors", tmp_path / "full" / "model.safetensors")


@pytest.mark.parametrize("verb", ["evaluate", "fit"])
def test_a_full_disk_is_our_failure_and_leaves_no_empty_file(folder, full_disk, capsys, verb):
    full_disk()
    words = ["-p", "profile", "smoke", "-p", "steps", "2", "--run-dir"] if verb == "fit" else []
    where = folder / "new" if verb == "fit" else folder
    assert main([verb, *words, str(where)]) == 1
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert "cannot be written (No space left on device" in told
    assert not [file for file in where.rglob("*.json*") if file.stat().st_size == 0 and file.name != "training.jsonl"]


def test_a_line_is_added_whole_or_not_at_all_and_half_a_line_goes_first(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"step": 1}\n{"step": 2, "ev')
    add_line(path, {"step": 3, "loss": float("nan")})
    assert read_lines(path) == [{"step": 1}, {"step": 3, "loss": None}]


def test_numbers_that_are_none_become_null():
    assert json.loads(as_json({"a": [float("inf"), (float("nan"), 1.5)]})) == {"a": [None, [None, 1.5]]}


# reading


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "Expecting value"),
        (b'{"step": ', "Expecting value"),
        (b"[1]", "it holds list"),
        (b"7", "it holds int"),
        (b"null", "it holds null"),
        (b'{"a": NaN}', "NaN is no number"),
        (b'{"a": [{"b": 1, "c": 2, "b": 1}]}', "'b' is given twice"),
        (b"\xff\xfe", "decode"),
        (b"[" * 100_000, "nested too deep"),
    ],
)
def test_what_is_no_object_of_json_is_refused_with_the_name_of_its_file(tmp_path, content, told):
    path = tmp_path / "mine.json"
    path.write_bytes(content)
    with pytest.raises(rf.DataError, match=rf"mine.json cannot be read \(.*{told}"):
        read_json(path)


def test_a_folder_in_the_place_of_a_file_is_a_sentence(tmp_path):
    with pytest.raises(rf.DataError, match="cannot be read"):
        read_json(tmp_path)
    with pytest.raises(rf.DataError, match="cannot be read"):
        read_lines(tmp_path)


AGAIN = b'{"step": 4, "seconds": 1.0}\n'
TWICE = b'{"step": 2, "seconds": 1.0, "step": 4}\n'


@pytest.mark.parametrize(
    "line", [AGAIN, TWICE, b"nonsense\n", b"\xff\xff\n", b"3\n", b'{"step": 2}\n', b'{"seconds": 1.0}\n']
)
def test_a_line_of_the_record_that_is_none_is_named(folder, line):
    record = folder / "training.jsonl"
    record.write_bytes(record.read_bytes() + line)
    number = len(record.read_bytes().splitlines())
    with pytest.raises(rf.DataError, match=f"training.jsonl, line {number}"):
        rf.load_run(folder)


@pytest.mark.parametrize(
    "line", ['{"step": NaN, "seconds": 1}', '{"step": 4, "seconds": -1}', '{"step": 2.5, "seconds": 1}']
)
def test_steps_and_seconds_that_no_training_counts_are_named(folder, line):
    (folder / "training.jsonl").write_text(line + "\n")
    with pytest.raises(rf.DataError, match=r"training.jsonl, line 1: (step|seconds) = .*as of fit"):
        rf.load_run(folder)


@pytest.mark.parametrize("line", ['{"event": "x"}', '{"step": 1}', '{"step": 1, "event": 5}'])
def test_an_event_that_is_none_is_named_by_the_evaluation(folder, line):
    """It ended in a KeyError after the work."""
    (folder / "events.jsonl").write_text(line + "\n")
    with pytest.raises(rf.DataError, match=r"events.jsonl, line 1: (step|event) = .*as of fit"):
        rf.evaluate(folder, n_images=4)


FACTS = [dict(step=-1), dict(step="2"), dict(n_levels=0), dict(seconds=-5), dict(best="x"), dict(source="x")]
FACTS += [dict(hardware=[]), dict(hardware=dict(processes="x")), dict(step=5)]


@pytest.mark.parametrize("fact", FACTS, ids=str)
def test_facts_that_no_training_has_written_are_refused(folder, fact):
    """A file with a checksum of its own, or of a time before there was one."""
    for name in ("model.safetensors", "checkpoint.safetensors"):
        path = folder / name
        facts = {key: json.dumps(value) for key, value in (facts_of(path) | fact).items()}
        save_file(load_file(path), path, facts)
        (told,) = fact
        with pytest.raises(rf.DataError, match=rf"{name} is not a readable flow checkpoint \({told} = "):
            load_weights(path)


def scaled(name, by):
    return lambda tensors, facts: tensors.update({name: tensors[name] * by})


STATES = {
    "more seconds recorded than trained": (lambda tensors, facts: facts.update(seconds=0.0), "recorded = "),
    "more steps since the last line than steps": (lambda tensors, facts: facts.update(since=5), "since = 5"),
    "losses of another step": (scaled("seen", 2), "step = 4, but its losses end at 8"),
    "losses that are none": (scaled("seen", math.nan), "seen = "),
    "averages of another size": (scaled("averaged.0", torch.ones(2, 1, 1, 1, 1)), "averaged weights are not"),
    "averages that are missing": (lambda tensors, facts: tensors.pop("averaged.1"), "averaged weights are not"),
    "negative squares": (scaled("optimizer.0.exp_avg_sq", -1), "optimizer.0.exp_avg_sq is not"),
    "more steps of Adam": (scaled("optimizer.0.step", 2), "optimizer.0.step is not"),
    "means of another size": (scaled("optimizer.1.exp_avg", torch.ones(2, 1, 1, 1, 1)), "optimizer.1.exp_avg is not"),
    "means of no parameter": (
        lambda tensors, facts: tensors.update({"optimizer.999.step": torch.ones(1)}),
        "optimizer.999.step is not",
    ),
    "no means": (lambda t, facts: [t.pop(name) for name in [*t] if name.startswith("optimizer.")], "no running means"),
}


@pytest.mark.parametrize("change", STATES)
def test_a_state_that_no_training_has_is_refused_also_where_its_checksum_is_right(folder, change):
    """It was gone on from: with other averages, or to a result of more steps than the settings have."""
    how, told = STATES[change]
    path = folder / "checkpoint.safetensors"
    tensors, facts = load_file(path), facts_of(path)
    how(tensors, facts)
    write_sealed(path, tensors, facts)
    with pytest.raises(rf.DataError, match=f"checkpoint.safetensors is not a readable.*{told}"):
        rf.fit(longer(), folder)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"steps": "many"}', '{"steps": 4'])
def test_settings_that_are_none_are_refused_by_fit(folder, content):
    (folder / "experiment.json").write_text(content)
    with pytest.raises(rf.DataError, match="experiment.json"):
        rf.fit(rf.Experiment(**SMALL), folder)


def test_where_the_settings_are_gone_those_of_the_weights_count(folder):
    (folder / "experiment.json").unlink()
    assert claim(folder, rf.Experiment(**SMALL)) == 4
    with pytest.raises(rf.SettingsError, match="holds a run with width = 8"):
        rf.fit(rf.Experiment(**SMALL | dict(width=4)), folder)


@pytest.mark.parametrize("wrong", [None, 5, ["a"], "a\0b"])
def test_what_is_no_path_is_refused(wrong):
    with pytest.raises(rf.SettingsError, match="run_dir = "):
        rf.load_run(wrong)
    with pytest.raises(rf.SettingsError, match="run_dir = "):
        rf.evaluate(wrong)


# weights


@pytest.mark.parametrize("name", ["model.safetensors", "checkpoint.safetensors"])
def test_no_flipped_bit_is_taken(trained, tmp_path, name):
    whole, bits = (trained.directory / name).read_bytes(), random.Random(7)
    header = 8 + int.from_bytes(whole[:8], "little")
    for i in range(150):
        place = bits.randrange(8 * (header if i % 2 else len(whole)))
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        (tmp_path / name).write_bytes(content)
        with pytest.raises(rf.DataError, match=name):
            load_weights(tmp_path / name)


@pytest.mark.parametrize(
    "use", [rf.load_run, lambda folder: rf.evaluate(folder, n_images=4), lambda folder: rf.fit(longer(), folder)]
)
def test_no_way_of_a_user_takes_a_flipped_bit(folder, use):
    """A run is loaded, scored and gone on with from a file each; the bit is one of the weights."""
    for name in ("model.safetensors", "checkpoint.safetensors"):
        content = bytearray((folder / name).read_bytes())
        content[-1000] ^= 4
        (folder / name).write_bytes(content)
    with pytest.raises(rf.DataError, match="its checksum is that of other content"):
        use(folder)
    assert not (folder / "ledger.json").exists()


def longer():
    return rf.Experiment(**SMALL | dict(steps=6))


def test_files_without_a_checksum_are_read_as_before():
    for path in (Path(__file__).parents[2] / "data" / "models").glob("*.safetensors"):
        assert isinstance(load_flow(path)[0], rf.Flow)


def rewritten(path, change):
    """The same file with other tensors, and without a checksum."""
    facts = {name: json.dumps(value) for name, value in facts_of(path).items() if name != "sha256"}
    tensors = load_file(path)
    change(tensors, facts)
    save_file(tensors, path, facts)


def set_first(ending, value):
    def change(tensors, facts):
        name = next(name for name in tensors if name.endswith(ending))
        tensors[name] = value(tensors[name])

    return change


UNSOUND = {
    "nan": (set_first(".weight", lambda t: t * float("nan")), "not finite"),
    "infinity": (set_first(".bias", lambda t: t + float("inf")), "not finite"),
    "a huge number": (set_first(".weight", lambda t: t * 1e30), r"\.weight holds .*e\+.*, which no training writes"),
    "zero vector": (set_first(".vector", torch.zeros_like), "zeros alone"),
    "whole numbers": (set_first(".weight", lambda t: t.to(torch.int64)), "int64"),
    "no settings": (lambda tensors, facts: facts.pop("experiment"), "tells of no settings"),
    "a task of another version": (lambda tensors, facts: facts.update(task='"song"'), "task = 'song'"),
    "a shape without end": (lambda tensors, facts: facts.update(shape="[1, 100000, 100000]"), "shape = "),
    "a shape of text": (lambda tensors, facts: facts.update(shape='"a"'), "shape = 'a'"),
}


@pytest.mark.parametrize("change", UNSOUND)
def test_weights_that_no_training_has_written_are_refused(folder, change):
    how, told = UNSOUND[change]
    rewritten(folder / "model.safetensors", how)
    with pytest.raises(rf.DataError, match=rf"model.safetensors.*{told}"):
        rf.load_run(folder)


def test_settings_in_a_file_that_ask_for_too_much_are_refused_at_once(folder):
    def change(tensors, facts):
        facts["experiment"] = json.dumps(json.loads(facts["experiment"]) | dict(blocks=[10**7]))

    rewritten(folder / "model.safetensors", change)
    with pytest.raises(rf.SettingsError, match="model.safetensors: blocks = .*1,000 blocks at most"):
        rf.load_run(folder)


def test_a_proof_is_of_the_weights_as_applied_whatever_the_kept_vectors_are(folder):
    """Weights times 100 with the vectors of before, and with random ones: the bound holds for the true norm."""
    for vector in (lambda t: t, torch.randn_like):

        def change(tensors, facts, vector=vector):
            for name in tensors:
                if name.endswith(".weight"):
                    tensors[name] = tensors[name] * 100
                if name.endswith(".vector"):
                    tensors[name] = vector(tensors[name])

        rewritten(folder / "model.safetensors", change)
        flow = rf.load_run(folder).flow.double()
        bounds = flow.certify().bounds
        for name, block in ((n, m) for n, m in flow.named_modules() if isinstance(m, rf.ResidualBlock)):
            x = torch.rand(1, *block_shape(block), dtype=torch.float64)
            jacobian = torch.autograd.functional.jacobian(block.branch, x).reshape(x.numel(), x.numel())
            assert torch.linalg.matrix_norm(jacobian, 2) <= bounds[name] * (1 + 1e-6)


def block_shape(block):
    layer = next(m for m in block.modules() if hasattr(m, "input_shape"))
    return layer.input_shape[1:]


# resumption


def test_half_a_line_of_the_record_and_another_number_of_threads_are_noted(small, tmp_path):
    class Enough(Exception):
        pass

    def stop(row):
        if row["step"] == 12:
            raise Enough

    with pytest.raises(Enough):
        rf.fit(small(steps=40), tmp_path, on_record=stop)
    record, threads = tmp_path / "training.jsonl", torch.get_num_threads()
    record.write_text(record.read_text() + '{"step": 14, "bits')
    torch.set_num_threads(threads + 1)
    try:
        run = rf.fit(small(steps=40), tmp_path)
    finally:
        torch.set_num_threads(threads)
    assert [row["step"] for row in run.history] == list(range(2, 41, 2))
    (event,) = (line["event"] for line in read_lines(tmp_path / "events.jsonl"))
    assert event.startswith(f"resumed with {threads + 1} threads, {threads} before: the last bits may differ")
    assert event.endswith("the record ended in half a line, which is left out")


def test_ctrl_c_is_heard_between_two_steps_and_a_second_one_at_once():
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.read() == [True, True] and isinstance(signals.stopped("here"), Interrupted)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        assert type(signals.stopped("here")) is Stopped


def test_ctrl_c_in_training_leaves_a_checkpoint(small, tmp_path):
    def interrupt(row):
        if row["step"] == 4:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped, match="stopped after step 5"):
        rf.fit(small(steps=40), tmp_path, on_record=interrupt)
    assert facts_of(tmp_path / "checkpoint.safetensors")["step"] == 5
