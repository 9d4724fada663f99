"""Confine this process, for good, before it runs a student's code (Linux only).

Around it stands bubblewrap (sandbox.py) where the machine has it. From inside come, everywhere: limited memory, no
capabilities, and no system calls for networks, programs, processes, threads, signals, rights of files or shared memory
(seccomp). Where bubblewrap is missing, Landlock leaves only Python's files to read and one folder to write.
"""

import ctypes
import os
import platform
import resource
import struct
import sys
from pathlib import Path

# System calls that are denied, by number on x86_64 and aarch64; - where the machine lacks it.
DENIED = """
socket 41 198, socketpair 53 199, io_uring_setup 425 425, fork 57 -, vfork 58 -, execve 59 221, execveat 322 281,
kill 62 129, tkill 200 130, tgkill 234 131, rt_sigqueueinfo 129 138, rt_tgsigqueueinfo 297 240, pidfd_open 434 434,
pidfd_send_signal 424 424, pidfd_getfd 438 438, ptrace 101 117, process_vm_readv 310 270, process_vm_writev 311 271,
process_madvise 440 440, process_mrelease 448 448, kcmp 312 272, prlimit64 302 261, setrlimit 160 164, unshare 272 97,
setns 308 268, mount 165 40, umount2 166 39, open_tree 428 428, fsopen 430 430, mount_setattr 442 442, chroot 161 51,
pivot_root 155 41, bpf 321 280, keyctl 250 219, add_key 248 217, request_key 249 218, perf_event_open 298 241,
userfaultfd 323 282, personality 135 92, setpgid 109 154, setsid 112 157, clone 56 220, clone3 435 435, openat2 437 437,
chmod 90 -, fchmod 91 52, fchmodat 268 53, fchmodat2 452 452, chown 92 -, lchown 94 -, fchown 93 55, fchownat 260 54,
utime 132 -, utimes 235 -, futimesat 261 -, utimensat 280 88, setxattr 188 5, lsetxattr 189 6, fsetxattr 190 7,
setxattrat 463 463, removexattr 197 14, lremovexattr 198 15, fremovexattr 199 16, removexattrat 466 466,
file_setattr 469 469, name_to_handle_at 303 264, open_by_handle_at 304 265, inotify_add_watch 254 27,
fanotify_init 300 262, shmget 29 194, semget 64 190, msgget 68 186, mq_open 240 180, memfd_create 319 279,
memfd_secret 447 447, setpriority 141 140, ioprio_set 251 30, sched_setaffinity 203 122, sched_setscheduler 144 119,
sched_setparam 142 118, sched_setattr 314 274
"""
# Denied for these values of one argument: who gets a signal, leases, terminals, outliving the grader.
DENIED_FOR = {
    (72, 25): (1, (8, 10, 15, 1024, 1026)),  # fcntl: F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_NOTIFY
    (16, 29): (1, (0x5412, 0x5452, 0x8901, 0x8902)),  # ioctl: TIOCSTI, FIOASYNC, FIOSETOWN, SIOCSPGRP
    (157, 167): (0, (1, 62)),  # prctl: PR_SET_PDEATHSIG, PR_SCHED_CORE
}
DENIED_WITH = {(2, -1): (1, 0x400000), (257, 56): (2, 0x400000)}  # open: O_TMPFILE, what has no name nobody counts
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
EPERM, X32 = 1, 0x40000000

LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446
READ = 1 << 2 | 1 << 3  # files, folders
WRITE = READ | 1 << 1 | 1 << 8 | 1 << 14  # and write, make and truncate files: none removed, no folders, so all count
RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # how many rights on files each version of Landlock knows
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 1, 22, 24, 38, 47
CAPABILITIES_VERSION, NOBODY = 0x20080522, 65534

libc = ctypes.CDLL(None, use_errno=True)


def landlock_version() -> int:
    """0 where this kernel or this machine has no Landlock."""
    if sys.platform != "linux" or platform.machine() not in AUDIT_ARCH:
        return 0
    return max(libc.syscall(LANDLOCK_CREATE, None, 0, 1), 0)


def die_with_parent() -> None:
    """Where the parent is killed, the kernel kills this process, too."""
    if sys.platform == "linux":
        libc.prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0)


def confine(wall: str, readable: list[str], scratch: str, memory: int, seconds: float) -> None:
    """From here on `memory` more bytes and `seconds` of CPU time, and what the wall leaves: no way back.

    wall: "bwrap", "landlock", "nobody" (root becomes this user: for a container that holds one hand-in), or "none".
    """
    if sys.platform == "linux" and len(os.listdir("/proc/self/task")) > 1:
        raise OSError("other threads run already, which a wall around this one would leave free")
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else 0
    space = pages * resource.getpagesize() + memory
    for what, limit in (
        (resource.RLIMIT_AS, space),
        (resource.RLIMIT_FSIZE, 2**26),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, int(seconds) + 60),
        (resource.RLIMIT_NOFILE, 256),
    ):
        resource.setrlimit(what, (limit, limit))
    if wall == "none":
        return
    if wall == "nobody":
        os.chown(scratch, NOBODY, NOBODY)
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    _drop_capabilities()
    _check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    if wall == "landlock":
        _files(readable, scratch)
    _system_calls()


def _check(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def _drop_capabilities() -> None:
    for capability in range(64):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    libc.prctl(PR_CAP_AMBIENT, 4, 0, 0, 0)
    _check(libc.capset(struct.pack("Ii", CAPABILITIES_VERSION, 0), bytes(24)), "capset")


def _files(readable: list[str], scratch: str) -> None:
    every_right = (1 << RIGHTS[min(landlock_version(), 5)]) - 1
    write = every_right & WRITE
    attributes = ctypes.c_uint64(every_right)
    ruleset = _check(libc.syscall(LANDLOCK_CREATE, ctypes.byref(attributes), 8, 0), "landlock")
    for path, rights in [*((path, READ) for path in readable), (scratch, write), ("/dev/null", 1 << 1 | 1 << 2)]:
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
    column = list(AUDIT_ARCH).index(platform.machine())

    def instruction(code, jt, jf, k):
        return struct.pack("=HBBI", code, jt, jf, k)

    def load(offset):
        return instruction(0x20, 0, 0, offset)

    def verdict(errno):
        return instruction(0x06, 0, 0, 0x00050000 | errno if errno else 0x7FFF0000)

    def unless_equal_skip(value, skip=1):
        return instruction(0x15, 0, skip, value)

    number, architecture, arguments = 0, 4, 16
    program = [load(architecture), instruction(0x15, 1, 0, AUDIT_ARCH[platform.machine()]), verdict(EPERM)]
    program += [load(number), instruction(0x35, 0, 1, X32), verdict(EPERM)]
    for call in DENIED.replace("\n", " ").split(","):
        if (value := call.split()[1 + column]) != "-":
            program += [unless_equal_skip(int(value)), verdict(EPERM)]
    for numbers, (position, values) in DENIED_FOR.items():
        tests = [load(arguments + 8 * position)]
        for value in values:
            tests += [unless_equal_skip(value), verdict(EPERM)]
        program += [unless_equal_skip(numbers[column], len(tests) + 1), *tests, verdict(0)]
    for numbers, (position, flag) in DENIED_WITH.items():
        program += [unless_equal_skip(numbers[column], 4), load(arguments + 8 * position)]
        program += [instruction(0x45, 0, 1, flag), verdict(EPERM), verdict(0)]
    program += [verdict(0)]

    code = b"".join(program)
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer))
    _check(libc.prctl(PR_SET_SECCOMP, 2, header, 0, 0), "seccomp")
