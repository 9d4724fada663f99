"""Confine this process, for good, before it runs a student's code (Linux only).

No network, no other programs, no signals to other processes (seccomp); no files but Python's, to read, and one folder
of its own (Landlock, or the user `nobody` where root grades on a kernel without it); limited memory.
"""

import ctypes
import os
import platform
import resource
import struct
import sys
from pathlib import Path

# System calls by number: (x86_64, aarch64); None where the machine lacks it.
DENIED = {
    "socket": (41, 198),
    "socketpair": (53, 199),
    "io_uring_setup": (425, 425),
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "prlimit64": (302, 261),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "bpf": (321, 280),
    "keyctl": (250, 219),
}
CLONE, CLONE3 = (56, 220), (435, 435)
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
EPERM, ENOSYS = 1, 38
CLONE_THREAD = 0x10000
X32 = 0x40000000

LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446
READ = 1 << 2 | 1 << 3  # files, folders
RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # how many rights on files each version of Landlock knows
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
NOBODY = 65534

libc = ctypes.CDLL(None, use_errno=True)


def confine(readable: list[str], scratch: str, memory: int) -> None:
    """From here on this process reads `readable`, writes below `scratch` and gets `memory` more bytes: no way back."""
    if sys.platform != "linux" or platform.machine() not in AUDIT_ARCH:
        raise OSError("students' code is confined by the Linux kernel: grade on Linux (x86_64, aarch64) or in Docker")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + memory
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**26, 2**26))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    _files(readable, scratch)
    _system_calls()


def _check(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def _files(readable: list[str], scratch: str) -> None:
    version = libc.syscall(LANDLOCK_CREATE, None, 0, 1)
    if version < 1:
        if os.geteuid() != 0:
            raise OSError("this kernel has no Landlock (Linux 5.13): grade as root, which can become the user nobody")
        os.chown(scratch, NOBODY, NOBODY)
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        return
    every_right = (1 << RIGHTS[min(version, 5)]) - 1
    attributes = ctypes.c_uint64(every_right)
    ruleset = _check(libc.syscall(LANDLOCK_CREATE, ctypes.byref(attributes), 8, 0), "landlock")
    for path, rights in [*((path, READ) for path in readable), (scratch, every_right), ("/dev/null", 1 << 1 | 1 << 2)]:
        if not os.path.exists(path):
            continue
        folder = os.open(path, os.O_PATH)
        rule = struct.pack("=Qi", rights if os.path.isdir(path) else rights & (1 << 1 | 1 << 2), folder)
        _check(libc.syscall(LANDLOCK_ADD, ruleset, 1, rule, 0), f"landlock rule for {path}")
        os.close(folder)
    _check(libc.syscall(LANDLOCK_RESTRICT, ruleset, 0), "landlock")
    os.close(ruleset)


def _system_calls() -> None:
    """A filter in the kernel's language (classic BPF): one comparison and one verdict for each denied call."""
    machine = platform.machine()
    column = list(AUDIT_ARCH).index(machine)

    def instruction(code, jt, jf, k):
        return struct.pack("=HBBI", code, jt, jf, k)

    def load(offset):
        return instruction(0x20, 0, 0, offset)

    def verdict(errno):
        return instruction(0x06, 0, 0, 0x00050000 | errno if errno else 0x7FFF0000)

    def unless_equal_skip(value, skip=1):
        return instruction(0x15, 0, skip, value)

    number, architecture, first_argument = 0, 4, 16
    program = [load(architecture), instruction(0x15, 1, 0, AUDIT_ARCH[machine]), verdict(EPERM), load(number)]
    program += [instruction(0x35, 0, 1, X32), verdict(EPERM)]
    for numbers in DENIED.values():
        if numbers[column] is not None:
            program += [unless_equal_skip(numbers[column]), verdict(EPERM)]
    program += [unless_equal_skip(CLONE3[column]), verdict(ENOSYS)]  # libc then falls back to clone
    program += [unless_equal_skip(CLONE[column], skip=4), load(first_argument)]
    program += [instruction(0x45, 1, 0, CLONE_THREAD), verdict(EPERM), verdict(0), verdict(0)]

    code = b"".join(program)
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer))
    _check(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0), "seccomp")
