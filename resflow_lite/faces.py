"""A face of a package: names that its modules hold, imported when somebody asks for them."""

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def face(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package (PEP 562), which so imports only what is used, and never in a circle.

    file: the package's `__init__.py`. Its names are those that it imports `if TYPE_CHECKING`: that editors and readers
    see, and that Python itself does not run.
    """
    found = [node for node in ast.walk(ast.parse(Path(file).read_text("utf-8"))) if isinstance(node, ast.ImportFrom)]
    homes = {alias.name: node.module for node in found if node.level == 1 for alias in node.names}

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if homes[name] is None:  # from . import name
            return import_module(f"{package}.{name}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return find, lambda: sorted({*vars(sys.modules[package]), *homes})
