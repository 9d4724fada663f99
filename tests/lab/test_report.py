"""The report: which runs count for a number of the paper, how they are judged, and that the README says the same."""

import json
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import resflow_lite as rf
from resflow_lite.__main__ import parser
from resflow_lite.lab import leaderboard, report, tables
from resflow_lite.lab.arguments import parameters
from resflow_lite.lab.hours import UTILISATION, estimated_hours, forward_flops, simulated, step_tflop
from resflow_lite.lab.ledger import SELECTION, read_entries
from resflow_lite.lab.reported import REPORTED
from resflow_lite.lab.seeds import by_seed, group, paired_interval
from resflow_lite.lab.tasks.density import Experiment

ROOT = Path(__file__).parents[2]
LEDGER = ROOT / "data" / "results"
MNIST, CIFAR10, *_, IRESNET = (
    next(t for t in report.TARGETS if (t.dataset, t.model.split()[0]) == pair)
    for pair in (("mnist", "Residual"), ("cifar10", "Residual"), ("mnist", "i-ResNet"))
)


@pytest.fixture
def entry(made_up_entry):
    """A report.Entry of made-up facts."""

    def build(sweep="", label="", **facts):
        return report.Entry(made_up_entry(**facts), sweep, label)

    return build


@pytest.fixture
def run(made_up_entry):
    """Facts of a run by a target's protocol."""

    def build(target, bits, **facts):
        settings = json.loads(json.dumps(target.experiment.as_dict()))
        return made_up_entry(settings=settings | facts.pop("settings", {}), bits_per_dim=bits, **facts)

    return build


@pytest.mark.parametrize(
    ("bits", "noise", "status"),
    [(0.972, 0.001, "matched"), (0.985, 0.001, "differs"), (0.955, 0.001, "differs"), (0.979, 0.001, "undecided")],
)
def test_one_run_is_judged_by_its_noise(run, bits, noise, status):
    told, mean, half = report.outcome(0.970, [run(MNIST, bits, noise_error=noise)])
    assert (told, mean, half) == (status, bits, 2 * noise)


def test_one_pass_does_not_tell_noise_from_images_so_the_whole_error_counts(run):
    assert report.outcome(0.970, [run(MNIST, 0.97, noise_error=None, standard_error=0.004)])[2] == 0.008


def test_runs_are_judged_by_the_spread_between_seeds(run):
    three = [run(MNIST, bits, seed=seed) for seed, bits in enumerate((0.971, 0.972, 0.973))]
    status, mean, half = report.outcome(0.970, three)
    assert mean == pytest.approx(0.972) and half == pytest.approx(4.3027 * 0.001 * (4 / 3) ** 0.5, rel=1e-4)
    assert status == "matched"
    wide = [run(MNIST, bits, seed=seed) for seed, bits in enumerate((0.96, 0.97, 0.98))]
    assert report.outcome(0.970, wide)[0] == "undecided"
    assert report.outcome(0.970, [])[0] == "not run"


def test_a_run_counts_for_a_target_if_every_setting_that_matters_is_the_targets(run):
    def counts(target, **changes):
        return len(target.runs([report.Entry(run(MNIST, 0.97, **changes))]))

    assert counts(MNIST) == counts(MNIST, settings=dict(seed=3, precision="fp32", memory="store")) == 1
    assert counts(CIFAR10) == counts(IRESNET) == 0
    assert counts(MNIST, settings=dict(lr=2e-3)) == counts(MNIST, settings=dict(steps=1000)) == 0
    assert counts(MNIST, selection_rule=SELECTION["unfinished"]) == 0
    other = [report.Entry(run(IRESNET, 1.05))]
    assert len(IRESNET.runs(other)) == 1 and not MNIST.runs(other)


def test_an_entry_that_is_older_than_a_setting_took_its_default(run):
    old = run(MNIST, 0.97)
    del old["settings"]["activation"]
    assert len(MNIST.runs([report.Entry(old)])) == 1 and not IRESNET.runs([report.Entry(old)])
    both = [report.Entry(old | dict(seed=seed)) for seed in (0, 1)] + [report.Entry(run(MNIST, 0.97, seed=2))]
    assert len(MNIST.runs(both)) == 3
    small = [report.Entry(facts | dict(settings=facts["settings"] | dict(steps=9))) for facts in MNIST.runs(both)]
    ((setting,),) = report.scaled_down(small, "paper").values()
    assert setting.comparison.seeds == 3


@pytest.mark.parametrize("target", report.TARGETS, ids=lambda target: f"{target.dataset}-{target.model.split()[0]}")
def test_the_command_for_a_target_makes_a_run_of_that_target(target):
    fit, evaluate = (command.split()[3:] for command in target.commands)
    options = parser().parse_args(fit)
    assert rf.Experiment.from_parameters(parameters(options.parameters, options.file)) == target.experiment
    assert parser().parse_args(evaluate).run_dir == options.run_dir
    assert len({t.commands for t in report.TARGETS}) == len(report.TARGETS)


def test_operations_are_those_that_a_step_executes():
    """Terms + 7 forward passes, against PyTorch's counter; what it counts beside them is the norms' matrix products."""
    model = rf.ImageModel((1, 8, 8), blocks=(2, 1), width=16, n_dense=2, dense_width=8)
    x = torch.rand(1, 1, 8, 8, dtype=torch.float32)
    totals = []
    for n in (5, 11):
        flow = rf.image_flow(replace(model, train_estimator=rf.PowerSeries(rf.Truncated(n)))).train()
        flow.initialize_(torch.rand(4, 1, 8, 8, dtype=torch.float32))
        with FlopCounterMode(display=False) as counter:
            flow.log_prob(x).sum().backward()
        with FlopCounterMode(display=False) as once, torch.no_grad():
            flow.bijection.transform(x)
        totals.append(counter.get_total_flops())
    forward = forward_flops(model)
    norms = once.get_total_flops() - forward
    assert totals[1] - totals[0] == 6 * forward
    assert totals[0] - norms == pytest.approx(12 * forward, rel=0.02)


def test_the_papers_models_cost_what_their_layers_add_up_to():
    """9.3 and 14 Gflop an image; ImageNet 32 has twice the blocks. Hours: operations over speed."""
    models = [rf.presets[f"paper/{name}"] for name in ("mnist", "cifar10", "imagenet32")]
    mnist, cifar10, imagenet32 = map(forward_flops, models)
    assert mnist == pytest.approx(9.3e9, rel=0.01) and cifar10 == pytest.approx(14.0e9, rel=0.01)
    assert imagenet32 == pytest.approx(2 * cifar10, rel=0.01)
    assert step_tflop(MNIST.experiment) == pytest.approx(12 * 64 * mnist / 1e12, rel=1e-6)
    assert step_tflop(CIFAR10.experiment) / (989 * 0.086) == pytest.approx(UTILISATION, rel=0.01)


def test_hours_are_those_of_measured_steps():
    """CIFAR-10 in bf16: 703,125 steps of 1,797 ms as the paper draws, of 86 ms with stratified draws; others scaled."""
    block, stratified = CIFAR10.hours
    assert block == pytest.approx(703125 * 1.797 / 3600) and stratified == pytest.approx(703125 * 0.086 / 3600)
    assert MNIST.hours[1] == pytest.approx(859375 * 0.065 / 3600)
    scaled = step_tflop(MNIST.experiment) / step_tflop(CIFAR10.experiment)
    assert MNIST.hours[0] == pytest.approx(859375 * 1.797 * scaled / 3600)
    truncated = replace(MNIST, model="i-ResNet (Behrmann et al. 2019)", changes=report.ELU_TRUNCATED)
    assert truncated.hours[0] == truncated.hours[1]
    words = board([])["Residual Flow", "CIFAR-10"][2]
    assert words == "**not run**: a whole training takes about 351 GPU hours, 17 with stratified draws"


def test_many_gpus_send_the_gradient_once_a_step():
    """A ring: every GPU sends 2 (n - 1) / n of the gradient's four bytes per parameter, and waits for it."""
    experiment = Experiment("mnist", profile="paper")
    alone, (ms, message, hours) = simulated(experiment, 1), simulated(experiment, 64)
    parameters = sum(p.numel() for p in rf.image_flow(rf.presets["paper/mnist"]).parameters())
    assert alone[1] == 0 and alone[2] == pytest.approx(estimated_hours(experiment))
    assert message == pytest.approx(2 * 63 / 64 * 4 * parameters / 50e9 * 1e3)
    assert ms == pytest.approx(alone[0] + message) and hours == pytest.approx(alone[2] * ms / alone[0] / 64)


def test_the_ledger_is_read_with_sweeps_and_labels_and_a_wrong_entry_is_named(made_up_entry, tmp_path):
    facts = made_up_entry(seed=2)
    name = f"digits-elu-truncated-laptop-seed2-{facts['checkpoint_sha256'][:8]}.json"
    (tmp_path / "ablation").mkdir()
    (tmp_path / "ablation" / name).write_text(json.dumps(facts))
    (read,) = report.read_ledger(tmp_path)
    assert (read.sweep, read.label, read.facts) == ("ablation", "elu-truncated", facts)
    (tmp_path / "ablation" / "bad.json").write_text(json.dumps(facts | dict(n_test="many")))
    with pytest.raises(rf.DataError, match="ablation/bad.json: .*n_test = 'many'"):
        report.read_ledger(tmp_path)
    with pytest.raises(rf.DataError, match="there is no ledger .*nowhere"):
        report.read_ledger(tmp_path / "nowhere")


def test_settings_come_best_first_with_paired_differences(entry):
    scores = {"elu": (2.0, 2.2, 2.1), "lipswish": (1.9, 2.05, 2.0)}
    entries = [
        entry("ablation", label, settings=dict(activation=label), seed=seed, bits_per_dim=bits)
        for label, values in scores.items()
        for seed, bits in enumerate(values)
    ]
    found = report.scaled_down(entries + [entries[0]], "laptop")
    best, other = found["ablation", "digits", "bits_per_dim"]
    assert (best.name, other.name) == ("lipswish", "elu") and best.comparison.difference is None
    assert other.comparison.seeds == 3 and other.comparison.difference == pytest.approx(0.35 / 3)
    table = tables.seeds([best, other], "bits_per_dim")
    assert table.rows[1][:4] == ["elu", "3", "2.100 ± 0.058", "+0.1167 ± 0.0717"]
    assert not report.scaled_down(entries, "smoke")
    with pytest.raises(rf.SettingsError, match="profile = 'labtop': expected one of smoke"):
        report.scaled_down(entries, "labtop")


def test_settings_of_one_name_are_told_apart_by_what_differs(entry):
    entries = [entry(settings=dict(precision=p, lr=1e-3), seed=s) for p in ("fp32", "bf16") for s in (0, 1)]
    (settings,) = report.scaled_down(entries, "laptop").values()
    assert {setting.name for setting in settings} == {"precision fp32", "precision bf16"}
    (settings,) = report.scaled_down(entries[:2], "laptop").values()
    assert [setting.name for setting in settings] == ["residual flow"]


def test_more_accuracy_is_better_and_a_score_that_was_not_measured_is_left_out(entry):
    def hybrid(weight, accuracy, bits):
        return entry("hybrid", f"residual-{weight}", task="hybrid", accuracy=accuracy, bits_per_dim=bits)

    found = report.scaled_down([hybrid(0, 0.97, None), hybrid(1, 0.9, 2.0)], "laptop")
    assert [s.comparison.mean for s in found["hybrid", "digits", "accuracy"]] == [0.97, 0.9]
    assert [s.name for s in found["hybrid", "digits", "bits_per_dim"]] == ["residual-1"]


def test_a_run_at_full_scale_is_in_no_other_block(run):
    full, shorter = run(MNIST, 0.97), run(MNIST, 1.2, settings=dict(steps=1000))
    (settings,) = report.scaled_down([report.Entry(full), report.Entry(shorter)], "paper").values()
    assert [s.comparison.mean for s in settings] == [1.2]
    rows = board([report.Entry(full)])
    assert rows["Residual Flow", "MNIST"][2].startswith("0.9700, difference +0.0000 ± 0.0060, **matched**; ")
    assert rows["i-ResNet", "MNIST"][2].startswith("**not run**: ")
    assert "mnist-iresnet" in tables.commands([report.Entry(full)])
    assert "runs/mnist " not in tables.commands([report.Entry(full)])


def test_a_matrix_marks_the_best_and_what_is_not_told_from_it(entry):
    scores = {"glow": (-3.5, -3.6, -3.4), "resflow": (-3.4, -3.7, -3.3), "ffjord": (-4.0, -4.1, -4.05)}
    entries = [
        entry("toy", name, task="toy", settings=dict(dataset="moons", system=name), seed=seed, nats=nats)
        for name, values in scores.items()
        for seed, nats in enumerate(values)
    ]
    (settings,) = report.scaled_down(entries, "laptop").values()
    rows = dict(tables.matrix({"moons": settings}).rows)
    assert rows["Residual Flow"].startswith("**-3.467") and rows["Glow"].startswith("**-3.500")
    assert rows["FFJORD"] == "-4.050 ± 0.029"


def test_the_table_of_the_systems_has_the_papers_numbers_and_the_sweep(entry):
    small = [entry("systems", "glow", settings=dict(system="glow"), seed=s, bits_per_dim=2 + s / 10) for s in (0, 1)]
    table = leaderboard.systems_table(small)
    rows = {row[0].split(" (")[0]: row[1:] for row in table.rows}
    assert rows["Residual Flow"] == ["0.970", "3.280", "not run"]
    assert rows["Glow"] == ["1.05", "3.35", "2.050 ± 0.050 (2 seeds)"]
    assert set(REPORTED) == {row[0] for row in table.rows}


GPU = dict(device="cuda", name="NVIDIA H200", processes=8)
TOOK = dict(hardware=GPU, device_hours=16.2, commit="abcdef0123", dirty=False)


def board(entries):
    """(model, data set) -> the other cells of the leaderboard."""
    return {(row[0], row[1]): row[2:] for row in leaderboard.leaderboard(entries).rows}


def test_a_whole_training_stands_with_its_hours_its_hardware_and_its_commit(run):
    runs = [report.Entry(run(MNIST, bits, seed=seed, **TOOK)) for seed, bits in enumerate((0.971, 0.972, 0.973))]
    cells = board(runs)["Residual Flow", "MNIST"]
    assert cells[:2] == ["0.970", "not scored"] and cells[3] == "-"
    assert cells[2].startswith("0.9720, difference +0.0020 ± 0.0050, **matched**; 3 runs; ")
    assert cells[2].endswith("; 3 runs; 49 h on 8 x NVIDIA H200, commit abcdef0")


def test_a_training_that_is_under_way_is_shown_with_its_epochs_and_never_as_the_result(run):
    """A quarter of the steps are 250 of 1,000 epochs; its score would match, and matches nothing."""
    planned = MNIST.experiment.steps
    quarter = dict(steps=planned // 4, images_seen=planned * 64 // 4, selection_rule=SELECTION["unfinished"])
    less = quarter | dict(images_seen=planned * 64 // 100)
    partial = [report.Entry(run(MNIST, bits, **TOOK | facts)) for bits, facts in ((0.970, quarter), (0.968, less))]
    told = board(partial)["Residual Flow", "MNIST"][2]
    assert told.startswith("**no result yet**: 250 of 1,000 epochs: 0.970 ± ") and "matched" not in told
    assert told.endswith("; 16 h on 8 x NVIDIA H200, commit abcdef0")
    assert not MNIST.runs(partial) and "runs/mnist " in tables.commands(partial)
    whole = board([*partial, report.Entry(run(MNIST, 0.985, noise_error=0.001))])["Residual Flow", "MNIST"][2]
    assert whole.startswith("0.9850") and "**differs**" in whole and "epochs" not in whole


def test_a_shorter_training_or_one_with_other_settings_is_no_result_either(run):
    """Finished, but by another recipe: its settings are told."""
    settings = dict(steps=8000, lr=2e-3, cool_down=0.3)
    short = report.Entry(run(CIFAR10, 3.9, settings=settings, steps=8000, images_seen=8000 * 64, **TOOK))
    told = board([short])["Residual Flow", "CIFAR-10"][2]
    assert told.startswith("**no result yet**: 11 of 1,000 epochs, steps 8000, lr 0.002, cool_down 0.3: 3.900 ± ")
    narrow = report.Entry(run(CIFAR10, 3.9, settings=dict(width=64)))
    assert board([narrow])["Residual Flow", "CIFAR-10"][2].startswith("**not run**")


def test_a_training_that_went_on_from_other_weights_counts_for_nothing(run):
    """Its steps are not all those behind its score."""
    event = "step 0: starts from the weights of released, step 900000 (last), sha256 0123abcd"
    continued = report.Entry(run(MNIST, 0.970, failures=[event]))
    assert not MNIST.runs([continued]) and not MNIST.under_way([continued])
    assert board([continued])["Residual Flow", "MNIST"][2].startswith("**not run**")


def released(run, target, bits, **facts):
    source = dict(kind="released", file="mnist.pth", sha256="0" * 64, reported=0.9701)
    settings = facts.pop("settings", {}) | dict(steps=900_000, lr=1e-3, warm_up=1000)
    rule = dict(selection_rule=SELECTION["released"], source=source)
    return report.Entry(run(target, bits, settings=settings, **rule | TOOK | facts))


def test_the_authors_model_stands_in_its_own_column_and_in_no_other(run):
    entry = released(run, MNIST, 0.9705, noise_error=0.001)
    cells = board([entry])["Residual Flow", "MNIST"]
    assert cells[1] == ("0.9705, difference +0.0005 ± 0.0020, **matched**; its file says 0.9701; commit abcdef0")
    assert cells[2].startswith("**not run**") and not report.scaled_down([entry], "paper")
    assert not MNIST.runs([entry]) and not MNIST.under_way([entry]) and not leaderboard.sweep_hours([entry]).rows
    assert board([entry])["Residual Flow", "CIFAR-10"][1] == "not scored"
    assert board([entry])["i-ResNet", "MNIST"][1] == board([entry])["Residual Flow", "CelebA-HQ 256"][1] == "-"


def test_small_models_of_the_same_kind_are_the_last_column_and_the_best_of_them_stands_there(entry):
    def small(label, bits, seed, **settings):
        chosen = dict(dataset="mnist", activation="lipswish") | settings
        return entry("ablation_mnist", label, settings=chosen, seed=seed, bits_per_dim=bits, device_hours=0.1)

    entries = [small("a", 1.3, 0), small("a", 1.4, 1), small("b", 1.6, 0, lr=1e-4), small("c", 1.1, 0, system="glow")]
    entries += [small("elu", 1.0, 0, activation="elu", train_estimator="truncated")]
    cells = board(entries)
    assert cells["Residual Flow", "MNIST"][3].startswith("1.350 ± 0.050 (82,139 parameters, 2 seeds; 12 min on x86_64")
    assert cells["i-ResNet", "MNIST"][3].startswith("1.000 (82,139 parameters, 1 seed; ")


def test_text_out_of_entries_cannot_leave_its_cell(run):
    hardware = dict(device="cuda", name="<img src=x> | [a](http://b)\n![c](d)", processes=1)
    nasty = dict(hardware=hardware, commit="|<b>|", dirty=True)
    entries = [report.Entry(run(MNIST, 0.97, **nasty)), released(run, MNIST, 0.97, **nasty)]
    for table in (leaderboard.leaderboard(entries), leaderboard.sweep_hours(entries)):
        lines = str(table).splitlines()
        assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
        assert "<" not in str(table) and "](" not in str(table)


def test_what_stands_behind_a_sweep_is_told(entry):
    entries = [
        entry("ablation", "a", seed=seed, device_hours=0.25, dirty=False, commit=c * 9) for seed, c in enumerate("ab")
    ]
    entries += [
        entry("toy", "b", task="toy", settings=dict(dataset=name), device_hours=1.5) for name in ("moons", "rings")
    ]
    rows = {(row[0], row[1]): row[2:] for row in leaderboard.sweep_hours(entries).rows}
    assert rows["ablation", "digits 8x8"] == ["2", "30 min", "x86_64", "commits aaaaaaa, bbbbbbb"]
    assert rows["toy", "the plane"][:2] == ["2", "3 h"]


def test_entries_of_the_committed_ledger_are_still_read_and_are_trained_here():
    assert not any(report.is_released(entry) for entry in report.read_ledger(LEDGER))


def test_the_readme_is_what_the_ledger_gives():
    text = (ROOT / "README.md").read_text()
    assert leaderboard.update_readme(text, report.read_ledger(LEDGER)) == text, "run `make report`"


def test_only_what_is_between_the_marks_is_rewritten_and_only_once(entry):
    text = f"# Title\n{leaderboard.BEGIN}\nold\n{leaderboard.END}\nafter\n"
    once = leaderboard.update_readme(text, [])
    assert once.startswith("# Title\n") and once.endswith("\nafter\n") and "old" not in once
    assert leaderboard.update_readme(once, []) == once
    with pytest.raises(rf.DataError, match="expected the lines"):
        leaderboard.update_readme(text.replace(leaderboard.END, ""), [])


def test_the_readme_s_seeds_and_its_bfloat16_are_those_of_the_ledger(printed):
    entries = read_entries(LEDGER / "precision")
    scores = {
        name: by_seed(found, "bits_per_dim")
        for name, found in group(entries, lambda e: e["settings"]["precision"]).items()
    }
    difference, half_width = paired_interval(scores["bf16"], scores["fp32"])
    mean, spread = statistics.mean(scores["fp32"].values()), statistics.stdev(scores["fp32"].values())
    text = " ".join((ROOT / "README.md").read_text().split())
    _, paired = text.split("differ by", 1)
    told = {"reach": mean, "on average (standard deviation": spread, "differ by": difference}
    assert all(abs(printed(text, words) - number) < 5.1e-4 for words, number in told.items())
    assert abs(printed(paired, " +-") - half_width) < 5.1e-4 and len(scores["bf16"]) == 3
