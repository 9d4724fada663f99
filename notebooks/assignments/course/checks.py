"""A test cell, taken apart into its checks."""

import ast
from types import CodeType

HIDDEN = "### BEGIN HIDDEN TESTS"
Checks = list[tuple[bool, CodeType]]  # whether a statement is a check (it asserts something), and its code


def checks_of(source: str) -> tuple[Checks, Checks]:
    """The visible and the hidden statements of a test cell, in order. A loop over several cases is one check."""
    lines = source.splitlines()
    border = next((i for i, line in enumerate(lines, 1) if line.strip() == HIDDEN), len(lines) + 1)
    parts: tuple[Checks, Checks] = ([], [])
    for node in ast.parse(source).body:
        is_check = any(isinstance(inner, ast.Assert) for inner in ast.walk(node))
        code = compile(ast.Module([node], []), "test", "exec")
        parts[node.lineno > border].append((is_check, code))
    return parts
