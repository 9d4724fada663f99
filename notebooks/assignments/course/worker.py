"""The process that runs a student's code. It learns neither tests nor solutions: it runs cells and calls functions.

Started by sandbox.py as `python -I -S worker.py`: without `site`, so that no editable install is importable. The first
line of its input holds its settings, each further line a request.
"""

import glob
import json
import os
import shutil
import sys

settings = json.loads(sys.stdin.buffer.readline())
sys.path[:] = [os.path.dirname(os.path.abspath(__file__)), *(p for p in sys.path if p), *settings["packages"]]

import resource  # noqa: E402, F401  (a student's import after confinement finds what is loaded already)

for path in glob.glob(os.path.join(sys.path[0], "fontlist-*.json")):  # matplotlib would take seconds to make it
    shutil.copy(path, os.environ["MPLCONFIGDIR"])

import matplotlib  # noqa: E402
import numpy  # noqa: E402, F401
import torch  # noqa: E402
import torch.func  # noqa: E402, F401
import wire  # noqa: E402
from confine import confine, die_with_parent  # noqa: E402

matplotlib.use("agg")
import matplotlib.pyplot  # noqa: E402, F401


def handle(request: dict, names: dict):
    if request["do"] == "run":
        exec(compile(request["source"], "cell", "exec"), names)
        return None
    value = names[request["name"]]
    if request["do"] == "call":
        args, kwargs = ([there(v, names) for v in request["args"]], request["kwargs"])
        return value(*args, **{key: there(v, names) for key, v in kwargs.items()})
    return value


def there(value, names):
    return names[value.name] if isinstance(value, wire.Name) else value


def described(error: BaseException) -> str:
    """The error's kind, message, and line in the student's cell."""
    line, trace = "", error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == "cell":
            line = f" (line {trace.tb_lineno} of the cell)"
        trace = trace.tb_next
    if isinstance(error, NotImplementedError) and not str(error):
        return "no answer yet: the cell raises NotImplementedError"
    return f"{type(error).__name__}: {str(error)[:500]}{line}"


def main() -> None:
    die_with_parent()
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # what a student prints, or reads, goes nowhere
        os.dup2(nothing, stream)
    torch.set_num_threads(1)
    torch.linalg.eigvals(torch.eye(2))  # loads what is loaded late
    os.chdir(settings["scratch"])
    try:
        names = ("wall", "readable", "scratch", "memory", "seconds")
        confine(**{name: settings[name] for name in names})
    except OSError as error:
        replies.write(wire.dumps({"ok": str(error)}))
        return
    replies.write(wire.dumps({"ok": None}))
    replies.flush()
    torch.set_num_threads = lambda n: None  # there are no others, and OpenMP would end the process for want of them

    names = {"__name__": "__main__"}
    for line in requests:
        try:
            reply = wire.dumps({"ok": handle(wire.loads(line), names)})
        except BaseException as error:  # SystemExit and KeyboardInterrupt too: they are the student's
            reply = wire.dumps({"error": described(error)})
        replies.write(reply)
        replies.flush()


main()
