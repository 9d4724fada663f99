"""The process that runs a student's code. It learns neither tests nor solutions: it runs cells and calls functions.

Started by sandbox.py as `python -I -S worker.py SETTINGS`: without `site`, so that no editable install is importable.
"""

import json
import os
import sys

settings = json.loads(sys.argv[1])
sys.path[:] = [settings["course"], *(p for p in sys.path if p), *settings["packages"]]

import resource  # noqa: E402, F401  (a student's import after confinement finds what is loaded already)

import matplotlib  # noqa: E402
import numpy  # noqa: E402, F401
import torch  # noqa: E402
import torch.func  # noqa: E402, F401
import wire  # noqa: E402
from confine import confine  # noqa: E402

matplotlib.use("agg")
import matplotlib.pyplot  # noqa: E402, F401


def handle(request: dict, names: dict):
    if request["do"] == "run":
        exec(compile(request["source"], request["title"], "exec"), names)
        return None
    value = names[request["name"]]
    if request["do"] == "call":
        args, kwargs = ([there(v, names) for v in request["args"]], request["kwargs"])
        return value(*args, **{key: there(v, names) for key, v in kwargs.items()})
    return value


def there(value, names):
    return names[value.name] if isinstance(value, wire.Name) else value


def main() -> None:
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # what a student prints, or reads, goes nowhere
        os.dup2(nothing, stream)
    torch.set_num_threads(1)
    torch.linalg.eigvals(torch.eye(2))  # loads what is loaded late
    torch.func.vjp(torch.sin, torch.ones(1))[1](torch.ones(1))
    try:
        confine(settings["readable"], settings["scratch"], settings["memory"])
    except OSError as error:
        replies.write(wire.dumps({"ok": str(error)}))
        return
    os.chdir(settings["scratch"])
    replies.write(wire.dumps({"ok": None}))
    replies.flush()

    names = {"__name__": "__main__"}
    for line in requests:
        try:
            reply = wire.dumps({"ok": handle(wire.loads(line), names)})
        except BaseException as error:  # SystemExit and KeyboardInterrupt too: they are the student's
            reply = wire.dumps({"error": f"{type(error).__name__}: {str(error)[:500]}"})
        replies.write(reply)
        replies.flush()


main()
