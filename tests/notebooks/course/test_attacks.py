"""What a student's code can reach behind each wall: the table of the guide, each row run."""

import os
import shutil
import sys
import time
from contextlib import closing

import pytest

# Each is an expression in a student's code; it must get nothing.
NOTHING = ("denied", "gone")
ATTACKS = {
    "read the pack": "open(PACK + '/secret.txt').read()",
    "list the pack": "os.listdir(PACK)",
    "see that the pack is there": "os.stat(PACK).st_size",
    "read a neighbour": "open(NEIGHBOUR + '/estimators.ipynb').read()",
    "list where hand-ins lie": "os.listdir(os.path.dirname(NEIGHBOUR))",
    "chmod a neighbour": "os.chmod(NEIGHBOUR, 0)",
    "touch a neighbour": "os.utime(NEIGHBOUR, (0, 0))",
    "change a neighbour": "open(NEIGHBOUR + '/estimators.ipynb', 'w').write('x')",
    "link to a neighbour": "os.link(NEIGHBOUR + '/estimators.ipynb', 'here')",
    "watch a neighbour": "ctypes_call('inotify_add_watch', inotify(), NEIGHBOUR.encode(), 0xfff)",
    "change Python's files": "open(os.__file__, 'a').write('x')",
    "write at home": "open('/root/x', 'w').write('x')",
    "the grader's arguments": "open(f'/proc/{os.getppid()}/cmdline').read() or gone()",
    "its own arguments": "PACK in open('/proc/self/cmdline').read() or gone()",
    "its own environment": "[v for v in os.environ if v in ('TOKEN', 'USER', 'SSH_AUTH_SOCK')] or gone()",
    "a network": "socket.create_connection(('127.0.0.1', PORT), timeout=2)",
    "an abstract socket": "socket.socket(socket.AF_UNIX)",
    "another program": "subprocess.run(['true'])",
    "a child": "os.fork()",
    "a signal to the grader": "os.kill(GRADER, 9)",
    "a signal by a pipe": "signal_by_pipe(GRADER)",
    "outliving the grader": "ctypes_call('prctl', 1, 0, 0, 0, 0)",
    "the grader's priority": "os.setpriority(os.PRIO_PROCESS, GRADER, 19)",
    "everybody's priority": "os.setpriority(os.PRIO_USER, os.getuid(), 19)",
    "the grader's cores": "os.sched_setaffinity(GRADER, {0})",
    "the grader's limits": "resource.prlimit(GRADER, resource.RLIMIT_CPU, (1, 1))",
    "more for itself": "resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    "shared memory": "ctypes_call('shmget', 0x5EED, 2**20, 0o1666)",
    "memory as a file": "os.memfd_create('x')",
    "a mount": "ctypes_call('mount', b'x', b'/tmp', b'tmpfs', 0, None)",
    "a user namespace": "ctypes_call('unshare', 0x10000000)",
    "root": "os.setuid(0) or os.getuid() or open('/etc/shadow').read()",
    "a capability": "[line for line in open('/proc/self/status') if 'CapEff:' in line and '1' in line] or gone()",
    "many open files": "len([open('/dev/null') for _ in range(1000)])",
    "the package": "__import__('resflow_lite')",
    "the tests": "[m for m in sys.modules if m in ('grade', 'checks', 'build', 'nbformat')] or gone()",
}
TOOLS = """
import ctypes, mmap, os, resource, signal, socket, subprocess, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)

def gone():
    raise FileNotFoundError

def ctypes_call(name, *arguments):
    result = getattr(libc, name)(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result

def inotify():
    return ctypes_call('inotify_init')

def signal_by_pipe(pid):
    import fcntl
    r, w = os.pipe()
    fcntl.fcntl(r, fcntl.F_SETOWN, pid)
    return fcntl.fcntl(r, 10, signal.SIGKILL)

def attempt(code):
    try:
        return "got " + repr(eval(code))[:200]
    except FileNotFoundError:
        return "gone"
    except (OSError, ValueError, ImportError) as error:
        refused = not isinstance(error, OSError) or error.errno in (1, 13, 18, 22, 24, 30, 38, 101)
        return "denied" if refused else repr(error)
"""
HEAVY = {  # ends the process; what the question's feedback then says
    "3 GiB": ("[bytearray(2**20) for _ in range(3200)]", "MemoryError"),
    "3 GiB of shared pages": (
        "[(m := mmap.mmap(-1, 2**26), m.write(bytes(2**26))) for _ in range(50)]",
        ("MemoryError", "Cannot allocate memory"),
    ),
    "a full disk": (
        "[open(f'{i}', 'wb').write(bytes(2**22)) for i in range(64)]",
        ("No space left", "too much written"),
    ),
    "a disk full of removed files": (
        "[(f := open('x', 'wb'), os.unlink('x'), f.write(bytes(2**25))) for _ in range(4)]",
        ("No space left", "denied"),
    ),
    "a disk full of files without names": (
        "[os.write(os.open('.', os.O_TMPFILE | os.O_RDWR), bytes(2**25)) for _ in range(4)]",
        "denied",
    ),
    "a thread": ("threading.Thread(target=time.sleep, args=(9,)).start()", "can't start new"),
    "an endless loop": ("sum(0 for _ in iter(int, 1))", "out of time"),
    "an endless wait": ("time.sleep(1000)", "out of time"),
    "a reply without end": ("reply(b'x' * 2**20, 0)", "too large"),
    "a reply that drips": ("reply(b' ', 0.001)", "out of time"),
    "a reply that is no reply": ("reply(b'[[[[\\n', 9)", "cannot be graded"),
    "a deep reply": ("reply(b'[' * 200000 + b'\\n', 9)", "cannot be graded"),
    "an exit": ("os._exit(0)", "crashed"),
    "a wrong address": ("ctypes.string_at(8)", "crashed"),
}
REPLY = """
def reply(words, pause):
    def write():
        while True:
            for fd in range(3, 20):
                try:
                    os.write(fd, words)
                except OSError:
                    pass
            time.sleep(pause)
    write()
"""


@pytest.fixture(params=["bwrap", "landlock"])
def wall(request, course, kit):
    import confine

    if request.param == "bwrap" and not kit.has_bwrap:
        pytest.skip("bubblewrap is not installed, or may not make namespaces here")
    if request.param == "landlock" and not confine.landlock_version():
        pytest.skip("this kernel has no Landlock")
    return request.param


@pytest.fixture
def neighbour(tmp_path, solved, kit):
    return kit.submit(tmp_path, "neighbour", "estimators", solved()).parent


def test_an_attack_gets_nothing(wall, pack, neighbour):
    from sandbox import Sandbox

    known = {"PACK": str(pack), "NEIGHBOUR": str(neighbour), "GRADER": os.getpid(), "PORT": 9}
    before = {path: (path.stat().st_mode, path.stat().st_mtime) for path in (pack, neighbour, *neighbour.iterdir())}
    got = {}
    with closing(Sandbox(wall)) as sandbox:
        sandbox.run(TOOLS + "".join(f"{name} = {value!r}\n" for name, value in known.items()), 10)
        for name, code in ATTACKS.items():
            got[name] = sandbox.call("attempt", (code,), {}, 10)
    print("\n".join(f"{wall}: {name}: {what}" for name, what in got.items()))
    # Landlock does not hide that a path exists.
    allowed = {"see that the pack is there"} if wall == "landlock" else set()
    assert {name: what for name, what in got.items() if what not in NOTHING and name not in allowed} == {}
    assert before == {path: (path.stat().st_mode, path.stat().st_mtime) for path in before}


def test_what_a_student_may_use_works_behind_the_wall(wall):
    from sandbox import Sandbox

    with closing(Sandbox(wall)) as sandbox:
        sandbox.run("import torch\ntorch.set_num_threads(4)\ntorch.randn(700, 700) @ torch.randn(700, 700)", 20)
        sandbox.run("w = torch.ones(9, requires_grad=True)\n(w.exp() ** 2).sum().backward()", 20)
        sandbox.run("torch.func.hessian(lambda x: x.sin().sum())(torch.ones(3))", 20)
        sandbox.run("import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.savefig('plot.png')", 20)


def test_what_takes_too_much_ends_in_a_sentence(wall):
    from sandbox import Limits, Sandbox, StudentError

    sandbox, wrong = None, {}
    for name, (code, says) in HEAVY.items():
        if sandbox is None or not sandbox.alive:
            sandbox = Sandbox(wall, Limits(memory=2**31))
            sandbox.run(TOOLS + REPLY, 10)
        try:
            said = str(sandbox.call("attempt", (code,), {}, 0.3 if "time" in says else 20.0))
        except StudentError as error:
            said = str(error)
        print(f"{wall}: {name}: {said}")
        if not any(words in said for words in ([says] if isinstance(says, str) else says)):
            wrong[name] = said
        if name.startswith(("a reply", "a deep")) or not sandbox.alive:
            sandbox.close()
    assert wrong == {}


def test_what_a_student_left_is_gone_when_the_grader_is(wall, pack, solved, tmp_path, kit):
    import psutil

    notebook = solved()
    kit.by_id(notebook)["q01-partial-sum-answer"].source = "import time\ntime.sleep(600)"
    path = kit.submit(tmp_path, "ada", "estimators", notebook)
    script = f"""
import sys
sys.path.insert(0, {str(kit.assignments / "course")!r})
from pathlib import Path
from find import HandIn
from run import Course
Course(Path({str(pack)!r}), "estimators", {wall!r}).verdict(HandIn("ada", "ada", Path({str(path)!r})))
"""
    grader = psutil.Popen([sys.executable, "-c", script], env=os.environ | {"TMPDIR": str(tmp_path)})
    started = []
    while not any("worker.py" in " ".join(process.cmdline()) for process in started):
        time.sleep(0.1)
        started = grader.children(recursive=True)
    grader.kill()
    grader.wait()
    _, left = psutil.wait_procs(started, timeout=60)
    for process in left:
        process.kill()
    assert left == []


def test_without_a_wall_nothing_is_graded_unless_students_are_trusted(course, pack, neighbour, tmp_path, monkeypatch):
    import sandbox

    monkeypatch.setattr(sandbox, "find_wall", lambda: "")
    words = ["grade", "estimators", str(neighbour.parent), "--pack", str(pack), "--out", str(tmp_path / "grades")]
    with pytest.raises(SystemExit, match="--trust-students"):
        course.main(words)
    assert not (tmp_path / "grades").exists()
    course.main([*words, "--trust-students"])
    assert (tmp_path / "grades" / "grades.csv").read_text().count("70.0") == 1


def test_the_fallback_is_found_where_bubblewrap_is_missing(course, monkeypatch):
    import confine
    import sandbox

    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    sandbox.find_wall.cache_clear()
    assert sandbox.find_wall() == ("landlock" if confine.landlock_version() else "")
    sandbox.find_wall.cache_clear()


@pytest.mark.skipif(not shutil.which("bwrap"), reason="needs bubblewrap")
def test_python_may_lie_below_the_folder_that_the_wall_replaces(course, tmp_path, monkeypatch):
    """A clone in /tmp: its packages stay readable where the student's process has a /tmp of its own."""
    import sandbox

    (tmp_path / "site-packages").mkdir()
    monkeypatch.setattr(sandbox, "packages", lambda: [str(tmp_path / "site-packages")])
    assert str(tmp_path).startswith("/tmp/") and sandbox.find_wall.__wrapped__() == "bwrap"
