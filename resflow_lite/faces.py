"""A face of a package: names that its modules hold, imported when somebody asks for them."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["face"]


def face(package: str, names: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package (PEP 562), which so imports only what is used, and never in a circle.

    names: module, relative to the package -> the names in it, with blanks between. The module's own name is one too.
    """
    homes = {name: module for module in names for name in names[module].split()}
    modules = {module for module in names if "." not in module}

    def find(name: str) -> Any:
        if name in homes:
            return getattr(import_module(f"{package}.{homes[name]}"), name)
        if name in modules:
            return import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find, lambda: sorted({*vars(sys.modules[package]), *homes, *modules})
