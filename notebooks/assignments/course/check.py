"""Run this before you hand in: `python check.py estimators.ipynb`. It needs Python, PyTorch and your notebook only.

It runs your notebook's cells from top to bottom in a fresh Python, as the grader does, with the tests that you see.
"""

import contextlib
import io
import json
import sys
from pathlib import Path


def check(path: Path) -> list[str]:
    """What would cost points, in the order of the notebook; empty if nothing is seen."""
    if path.suffix != ".ipynb" or path.is_symlink() or not path.is_file():
        return [f"{path} is not a notebook: hand in one file that ends in .ipynb"]
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        cells = [(cell, cell["metadata"].get("nbgrader", {}), "".join(cell["source"])) for cell in cells]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"{path} cannot be read as a notebook ({type(error).__name__}): save it again in Jupyter"]
    names, problems, seen = {"__name__": "__main__"}, [], set()
    for cell, mark, source in cells:
        grade_id = mark.get("grade_id", "")
        if grade_id and grade_id in seen:
            problems.append(f"{grade_id}: this cell stands there twice, and only the first counts")
        if cell["cell_type"] == "markdown" and mark.get("grade") and source.strip() in ("", "YOUR ANSWER HERE"):
            problems.append(f"{grade_id}: no answer yet")
        runs = cell["cell_type"] == "code" and "not-graded" not in cell["metadata"].get("tags", [])
        if not grade_id or grade_id in seen or not runs:
            continue
        seen.add(grade_id)
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                exec(compile(source, grade_id, "exec"), names)
        except AssertionError as error:
            cause = printed.getvalue().splitlines()[-1:]
            problems.append(f"{grade_id}: {' '.join([*cause, str(error)])}")
        except NotImplementedError:
            problems.append(f"{grade_id}: no answer yet")
        except BaseException as error:
            problems.append(f"{grade_id}: {type(error).__name__}: {error}")
    if not seen:
        return [f"{path} has none of the cells of an assignment: start again from the hand-out"]
    print(f"graded for the user name {names.get('student')!r} in the term {names.get('term')!r}: is that you?")
    return problems


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    found = check(Path(sys.argv[1]))
    print("\n".join(found) or "All visible tests pass. Hidden tests on other data come when it is graded.")
    sys.exit(bool(found))
