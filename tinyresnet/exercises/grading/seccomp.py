"""Linux's system-call filter: no other process, no signal to one, no network, no change of rights or of the machine. Needs no root.

The list says what is refused (with EPERM, which Python shows as a PermissionError); what is not on it is allowed, since NumPy, BLAS and the
C library of another distribution may ask for calls that those of this one do not. Calls younger than 2019 are the other way round: refused
unless they stand in `NEW`, so that what next year's kernel adds is not let through unseen.

Source: seccomp(2); the numbers are those of arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

X86_64, ARM_64 = 0xC000003E, 0xC00000B7  # AUDIT_ARCH_*

# name -> (number on x86-64, number on ARM64), None where there is no such call.
REFUSED: dict[str, tuple[int | None, int | None]] = {
    # another process: made, looked into, told something
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281), "unshare": (272, 97), "setns": (308, 268),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "setpriority": (141, 140),
    "ioprio_set": (251, 30), "sched_setaffinity": (203, 122), "sched_setscheduler": (144, 119), "sched_setparam": (142, 118),
    "sched_setattr": (314, 274), "migrate_pages": (256, 238), "move_pages": (279, 239), "setrlimit": (160, 164),
    # the network, and other ways out
    "socket": (41, 198), "socketpair": (53, 199), "shmget": (29, 194), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    "mq_unlink": (241, 181), "memfd_create": (319, 279), "userfaultfd": (323, 282), "add_key": (248, 217), "request_key": (249, 218),
    "keyctl": (250, 219), "bpf": (321, 280), "perf_event_open": (298, 241),
    # what Landlock does not see: rights, owners, times and attributes of files, and where they are watched
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "chown": (92, None), "fchown": (93, 55), "lchown": (94, None),
    "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15),
    "fremovexattr": (199, 16), "truncate": (76, 45), "mknod": (133, None), "mknodat": (259, 33), "inotify_add_watch": (254, 27),
    "fanotify_init": (300, 262), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    # the machine, and being somebody else
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "swapon": (167, 224), "swapoff": (168, 225),
    "reboot": (169, 142), "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "sethostname": (170, 161), "setdomainname": (171, 162), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266), "acct": (163, 89), "quotactl": (179, 60),
    "syslog": (103, 116), "iopl": (172, None), "ioperm": (173, None), "modify_ldt": (154, None), "setuid": (105, 146),
    "setgid": (106, 144), "setreuid": (113, 145), "setregid": (114, 143), "setresuid": (117, 147), "setresgid": (119, 149),
    "setfsuid": (122, 151), "setfsgid": (123, 152), "setgroups": (116, 159), "capset": (126, 91), "personality": (135, 92),
    "vhangup": (153, 58),
}  # fmt: skip
CLONE, KILL, TGKILL, PRLIMIT, IOCTL, FCNTL = (56, 220), (62, 129), (234, 131), (302, 261), (16, 29), (72, 25)
CLONE3, FIRST_NEW = 435, 424  # from here on the numbers are the same everywhere
NEW = (436, 437, 439, 441, 449, 454, 455, 456)  # close_range, openat2, faccessat2, epoll_pwait2, futex_*
CLONE_THREAD = 0x10000
TERMINAL = (
    0x5401,
    0x5413,
    0x541B,
    0x5421,
    0x5450,
    0x5451,
)  # ioctl: TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX
OWNERS = (
    8,
    10,
    15,
    1024,
    1026,
)  # fcntl: F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_NOTIFY: signals to whom one names

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # BPF: ld [k], jeq, jge, jset, ret
_ALLOW, _REFUSE, _UNKNOWN, _KILL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS, 0x80000000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # where they are in struct seccomp_data


def architecture() -> int | None:
    """Which column of the table holds here: 0, 1, or None."""
    if sys.platform != "linux" or sys.byteorder != "little" or struct.calcsize("P") != 8:
        return None
    return {"x86_64": 0, "amd64": 0, "aarch64": 1, "arm64": 1}.get(platform.machine().lower())


def install() -> bool:
    """Puts the filter on this process, which must have one thread; for good. False where there is none to be had."""
    column = architecture()
    if column is None:
        return False
    code = program(column, os.getpid())

    class Program(ctypes.Structure):  # struct sock_fprog
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    buffer = ctypes.create_string_buffer(code, len(code))
    wanted = Program(len(code) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)
    if libc.prctl(38, 1, 0, 0, 0) != 0:  # PR_SET_NO_NEW_PRIVS
        return False
    return bool(libc.prctl(22, 2, ctypes.addressof(wanted), 0, 0) == 0)  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


def program(column: int, own: int) -> bytes:
    """The filter, for the process whose number is `own`."""
    code = [
        _do(_LOAD, _ARCHITECTURE),
        _do(_EQUAL, (X86_64, ARM_64)[column], 1, 0),
        _do(_RETURN, _KILL),
        _do(_LOAD, _NUMBER),
    ]
    for numbers in REFUSED.values():
        number = numbers[column]
        if number is not None:
            code += _if(number, [_do(_RETURN, _REFUSE)])
    code += _if(CLONE[column], [_do(_LOAD, _argument(0)), _do(_ANY_BIT, CLONE_THREAD, 1, 0), _refuse(), _allow()])
    code += _if(KILL[column], _only(0, (own,)))
    code += _if(TGKILL[column], _only(0, (own,)))
    code += _if(IOCTL[column], _only(1, TERMINAL))
    code += _if(FCNTL[column], _all_but(1, OWNERS))
    code += _if(PRLIMIT[column], [*_zero(2), *_zero(2, upper=True), _allow()])
    for number in NEW:
        code += _if(number, [_allow()])
    code += [
        _do(_AT_LEAST, FIRST_NEW, 0, 1),
        _do(_RETURN, _UNKNOWN),
        _allow(),
    ]  # clone3 too: the C library then takes clone
    return b"".join(code)


def _do(operation: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", operation, if_true, if_false, value)


def _if(number: int, body: list[bytes]) -> list[bytes]:
    """The body, which ends with a verdict, for the call of this number."""
    return [_do(_EQUAL, number, 0, len(body)), *body]


def _argument(which: int, upper: bool = False) -> int:
    return _ARGUMENTS + 8 * which + 4 * upper


def _allow() -> bytes:
    return _do(_RETURN, _ALLOW)


def _refuse() -> bytes:
    return _do(_RETURN, _REFUSE)


def _only(which: int, values: tuple[int, ...]) -> list[bytes]:
    """Allowed if the argument is one of these."""
    tests = [step for value in values for step in (_do(_EQUAL, value, 0, 1), _allow())]
    return [_do(_LOAD, _argument(which)), *tests, _refuse()]


def _all_but(which: int, values: tuple[int, ...]) -> list[bytes]:
    """Refused if the argument is one of these."""
    tests = [step for value in values for step in (_do(_EQUAL, value, 0, 1), _refuse())]
    return [_do(_LOAD, _argument(which)), *tests, _allow()]


def _zero(which: int, upper: bool = False) -> list[bytes]:
    """Refused if half of the argument is not zero; else on to what follows."""
    return [_do(_LOAD, _argument(which, upper)), _do(_EQUAL, 0, 1, 0), _refuse()]
