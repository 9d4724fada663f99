"""Settings out of text: the words of a command line, and small YAML files.

One rule for both: 3, -1e-3, true, null and [2, 2] are what they look like, 1e3 is the whole number 1000, all else is
text. That is YAML 1.2 without its rarities. (YAML 1.1, as PyYAML reads it, makes False of `off`, 8 of 010, 750 of
12:30 and text of 1e-3, and aliases of aliases explode.)
"""

import difflib
import math
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import yaml

from ..errors import SettingsError
from ..expect import shown

WORDS = dict.fromkeys(("true", "True", "TRUE"), True) | dict.fromkeys(("false", "False", "FALSE"), False)
WORDS |= dict.fromkeys(("null", "Null", "NULL", "None", "~"))

DEPTH, LENGTH = 20, 100_000


def read_value(text: str) -> Any:
    """The value of one setting. Raises SettingsError for a list, a mapping or a quotation that is not whole."""
    if text.lstrip()[:1] not in ("[", "{", '"', "'"):
        return _plain(text)
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise SettingsError(f"{shown(text)}: {_told(error)}") from None


def read_yaml(path: Path | str) -> Any:
    """The content of a YAML file. Raises SettingsError for a file that is missing, too long, too deep or not YAML, that
    gives a key twice, or holds aliases and tags, which nothing here needs."""
    path = Path(path)
    if not path.is_file():
        raise SettingsError(f"there is no file {path}: expected a YAML file")
    try:
        if path.stat().st_size > LENGTH:
            raise SettingsError(f"{path.name} has {path.stat().st_size:,} bytes: expected settings, {LENGTH:,} at most")
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path.name} is not text in UTF-8 ({error.reason} at byte {error.start})") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path.name} cannot be read as YAML: {_told(error)}") from None


def expect_known(names: Iterable[Any], known: Collection[str], where: str = "", kind: str = "parameter") -> None:
    """Raises SettingsError for the first of the names that is not known, with the one that may be meant."""
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, 1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise SettingsError(f"{where}unknown {kind} {name!r}: {hint}Known: {', '.join(known) or 'none'}")


class _Loader(yaml.SafeLoader):
    """Plain scalars by _plain; no aliases, no tags, no key twice, and never deeper than DEPTH."""

    yaml_implicit_resolvers = {}
    depth = 0

    def compose_node(self, parent: Any, index: Any) -> yaml.Node:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) or getattr(event, "tag", None):
            raise yaml.MarkedYAMLError(problem="anchors, aliases and tags are not read", problem_mark=event.start_mark)
        self.depth += 1
        if self.depth > DEPTH:
            raise yaml.MarkedYAMLError(problem=f"more than {DEPTH} levels deep", problem_mark=event.start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, *, deep: bool = False) -> dict:
        for name, times in Counter(str(key.value) for key, _ in node.value).items():
            if times > 1:
                raise yaml.MarkedYAMLError(problem=f"{shown(name)} is given twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep=deep)


def _scalar(loader: _Loader, node: yaml.ScalarNode) -> Any:
    if node.style is not None:  # in quotation marks: text
        return node.value
    return _plain(node.value) if node.value else None


_Loader.add_constructor("tag:yaml.org,2002:str", _scalar)


def _plain(text: str) -> Any:
    if text in WORDS:
        return WORDS[text]
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return text
    whole = math.isfinite(number) and number.is_integer() and "." not in text
    return int(number) if whole else number


def _told(error: yaml.YAMLError) -> str:
    """PyYAML's error in one line."""
    mark = getattr(error, "problem_mark", None)
    place = f" in line {mark.line + 1}" if mark is not None else ""
    return f"{getattr(error, 'problem', None) or ' '.join(str(error).split())}{place}"
