"""The houses: imports run one way, files and functions stay small, notebooks use faces.

paper (numerics <- estimators <- layers <- models <- checks) <- lab <- book <- the command line and the notebooks.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import nbformat
import pytest

import resflow_lite as rf

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "resflow_lite"
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
# what a module belongs to, from the ground up; the first that fits
HOUSES = (
    *("errors", "faces", "expect", "incoming", "numerics", "estimators", "layers", "models", "checks"),
    *("lab", "book", "__main__"),
)
FACES = [name for name, path in FILES.items() if path.name == "__init__.py"]
NOTEBOOKS = sorted((ROOT / "notebooks").rglob("*.ipynb"))


def height(module):
    """The floor of a module; the face of all stands on top of the paper, and takes the lab and the book by name."""
    parts = module.split(".")
    return HOUSES.index("checks") + 0.5 if len(parts) == 1 else HOUSES.index(parts[1])


def imports(module, tree):
    """(line, imported module) of every import in a module, also of those inside functions; relative ones resolved."""
    package = module if module in FACES else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:  # from . import name: a module where there is one, else a name of the face
                name = f"{source}.{alias.name}"
                yield node.lineno, name if name in FILES else source


def ours(module):
    """(line, imported module of the package) of each of its imports that Python runs; a face's names are not run."""
    tree = ast.parse(FILES[module].read_text())
    tree.body = [
        node for node in tree.body if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    found = imports(module, tree)
    return [(line, name) for line, name in found if name.split(".")[0] == "resflow_lite"]


def functions(module):
    tree = ast.parse(FILES[module].read_text())
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def is_kernel(function):
    """Whether Triton compiles it: a kernel takes each tensor as a pointer with its sizes, and has no objects."""
    return "triton.jit" in [ast.unparse(decorator) for decorator in function.decorator_list]


@pytest.mark.parametrize("module", FILES)
def test_no_import_climbs(module):
    climbing = [f"line {line}: {name}" for line, name in ours(module) if height(name) > height(module)]
    assert climbing == [], f"{module} imports from above: {climbing}"


@pytest.mark.parametrize("module", FILES)
def test_modules_import_each_other_and_no_face(module):
    faces = [f"line {line}: {name}" for line, name in ours(module) if name in FACES]
    assert faces == [], f"{module} imports through a face: {faces}"


def test_the_check_of_imports_sees_those_that_climb():
    source = "from . import runs\ndef f():\n    from ..book.figures import panels\n    from ..models.flow import Flow"
    found = [name for _, name in imports("resflow_lite.lab.example", ast.parse(source))]
    assert found == ["resflow_lite.lab.runs", "resflow_lite.book.figures.panels", "resflow_lite.models.flow"]
    assert [height(name) > height("resflow_lite.lab.example") for name in found] == [False, True, False]
    assert height("resflow_lite.numerics.norms") < height("resflow_lite.estimators.series")


def test_the_paper_needs_neither_the_lab_nor_matplotlib():
    source = "import sys, resflow_lite as rf; rf.check_bijection, rf.systems, rf.hybrid_flow, rf.toy_flow\n"
    source += "print([m for m in sys.modules if m.startswith(('matplotlib', 'resflow_lite'))])"
    loaded = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    houses = {name.split(".")[1] for name in re.findall(r"'(resflow_lite\.\w+)", loaded)}
    assert "matplotlib" not in loaded and houses and not houses & {"lab", "book"}


@pytest.mark.parametrize("face", [rf, rf.lab, rf.book, rf.book.explorers], ids=lambda face: face.__name__)
def test_every_name_of_a_face_is_there(face):
    for name in {*dir(face), *getattr(face, "__all__", ())}:
        assert getattr(face, name) is not None or name.startswith("__")
    with pytest.raises(AttributeError, match="nonsense"):
        _ = face.nonsense


def test_the_names_of_old_still_resolve():
    names = "fit Experiment evaluate load_run load_images toy_data toy_names presets recipes ToyExperiment run_toy Run"
    names += (
        " HybridExperiment run_hybrid Images check_images image_names Evaluation BiasReport bias_report System systems"
    )
    names += " toy_system image_system with_budget Recipe Solution LogDetEstimate CheckReport hybrid_kinds"
    names += " AutogradLinearization compile_activations_"
    assert [name for name in names.split() if not hasattr(rf, name)] == []
    assert len(set(rf.__all__)) == len(rf.__all__) <= 70


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_import_from_faces_and_every_name_that_they_use_is_there(path):
    code = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")
    tree = ast.parse(re.sub(r"^\s*[%!].*$", "", code, flags=re.MULTILINE))
    held = {"rf": rf}  # name in the notebook -> what it is
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "resflow_lite":
            assert node.module in FACES, f"{node.module} is no face of the package"
            for alias in node.names:
                exec(f"from {node.module} import {alias.name} as {alias.asname or alias.name}", held)
    uses = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)]
    modules = {node.value.id for node in uses if isinstance(held.get(node.value.id), ModuleType)}
    missing = {f"{node.value.id}.{node.attr}" for node in uses if node.value.id in modules}
    missing = {use for use in missing if not hasattr(held[use.split(".")[0]], use.split(".")[1])}
    assert missing == set(), f"{path.name} uses what is not there: {missing}"


@pytest.mark.parametrize("module", FILES)
def test_files_and_functions_stay_small(module):
    lines = len(FILES[module].read_text().splitlines())
    assert lines <= 300, f"{module} has {lines} lines, more than 300"
    for function in functions(module):
        a = function.args
        length = function.end_lineno - function.lineno + 1
        arguments = [*a.posonlyargs, *a.args, *a.kwonlyargs]
        count = len([each for each in arguments if each.arg not in ("self", "cls")])
        assert length <= 60, f"{module}.{function.name} has {length} lines, more than 60"
        assert count <= 8 or is_kernel(function), f"{module}.{function.name} takes {count} arguments, more than 8"


@pytest.mark.parametrize("module", FILES)
def test_booleans_are_given_by_name(module):
    found = set()
    for function in functions(module):
        positional = [a for a in [*function.args.posonlyargs, *function.args.args] if a.arg not in ("self", "cls")]
        defaults = [None] * (len(positional) - len(function.args.defaults)) + function.args.defaults
        for i, (argument, default) in enumerate(zip(positional, defaults)):
            typed = argument.annotation is not None and ast.unparse(argument.annotation) == "bool"
            flag = isinstance(default, ast.Constant) and isinstance(default.value, bool)
            about = i == 0 or argument.arg == "condition"  # what a function is about, as in expect(condition)
            if flag or typed and not about:
                found.add(f"{module.removeprefix('resflow_lite.')}.{function.name}({argument.arg})")
    assert not found, f"a plain True in a call says nothing: put a * before {found}"
