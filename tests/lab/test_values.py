"""Text becomes the settings that it looks like, or a sentence, and never hang."""

import math

import pytest

import resflow_lite as rf
from resflow_lite.lab.values import read_value, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-3", -3),
        ("1e3", 1000),
        ("1e-3", 1e-3),
        ("5e-2", 0.05),
        ("2.0", 2.0),
        (".5", 0.5),
        ("true", True),
        ("True", True),
        ("FALSE", False),
        ("null", None),
        ("None", None),
        ("~", None),
        ("learned", "learned"),
        ("[2, 2]", [2, 2]),
        ("[1e-3, 1e3, true, null, elu]", [1e-3, 1000, True, None, "elu"]),
        ("[]", []),
        ("{a: 1, b: [x]}", {"a": 1, "b": ["x"]}),
        ('"5"', "5"),
        ("'true'", "true"),
        ("['5', 5]", ["5", 5]),
        ("", ""),
        # where YAML 1.1 has ideas of its own
        ("off", "off"),
        ("no", "no"),
        ("010", 10),
        ("12:30", "12:30"),
        ("2026-01-01", "2026-01-01"),
        ("folder:/a b/c #d", "folder:/a b/c #d"),
        ("folder: x", "folder: x"),
        ("*x", "*x"),
        ("@x", "@x"),
        ("a\nb", "a\nb"),
    ],
)
def test_a_word_of_the_command_line_is_what_it_looks_like(text, value):
    found = read_value(text)
    assert found == value and type(found) is type(value)


def test_numbers_without_end_stay_numbers_for_the_settings_to_refuse():
    assert math.isnan(read_value("nan")) and read_value("-inf") == -math.inf and read_value("1e999") == math.inf
    assert read_value("9" * 5000) == math.inf


@pytest.mark.parametrize("text", ["[2, 2", "{a", '"x', "[*a]", "[&a 1, *a]", "[!!int 5]", "{a: 1, a: 2}", "[" * 99_999])
def test_a_list_that_is_not_whole_is_refused_in_a_sentence(text):
    with pytest.raises(rf.SettingsError) as refusal:
        read_value(text)
    assert len(str(refusal.value)) < 200 and "\n" not in str(refusal.value)


def test_a_file_is_read_by_the_same_rule(tmp_path):
    path = tmp_path / "good.yaml"
    path.write_text("lr: 1e-3\nsteps: 1e3  # many\nblocks: [2, 2]\nsystem:\nflip: true\nname: '5'\n")
    expected = dict(lr=1e-3, steps=1000, blocks=[2, 2], system=None, flip=True, name="5")
    assert read_yaml(path) == expected


LAUGHS = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}]\n" for a, b in zip("abcdefghij", "bcdefghijk"))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (LAUGHS.encode(), "anchors, aliases and tags are not read in line 1"),
        (b"a: " + b"[" * 90_000, "more than 20 levels deep in line 1"),
        (b"a: " + b"{b: " * 20_000, "more than 20 levels deep"),
        (b"- " * 40_000, "more than 20 levels deep"),
        (b"x: 1\n" * 20_001, "has 100,005 bytes: expected settings, 100,000 at most"),
        ("é: 1".encode("latin-1"), r"is not text in UTF-8 \(.* at byte 0\)"),
        ("a: 1".encode("utf-16"), "is not text in UTF-8"),
        (b"a: 1\nb: 2\na: 3\n", "'a' is given twice in line 1"),
        (b"a: [1, 2\n", "cannot be read as YAML: .*in line 2"),
        (b"a: 1\n---\nb: 2\n", "cannot be read as YAML"),
        (b"a: !!python/object:os.system x\n", "anchors, aliases and tags are not read"),
        (b"a: \x00", "cannot be read as YAML"),
        (b"? [1, 2]\n: 3\n", "cannot be read as YAML"),
    ],
)
def test_a_file_that_explodes_or_is_none_ends_in_a_sentence(content, sentence, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(rf.SettingsError, match=sentence) as refusal:
        read_yaml(path)
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 300


def test_a_file_that_is_not_there_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "gone.yaml"):
        with pytest.raises(rf.SettingsError, match="there is no file .*expected a YAML file"):
            read_yaml(path)
