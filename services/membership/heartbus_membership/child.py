"""The first thing that runs in a child of membership: becomes another user, then the program.

Run as a script, in an interpreter of its own, so that membership need not fork itself (it would
copy the memory map of a process that must answer in milliseconds). Standard library only.

    python -I -S child.py PARENT REPORT USER CLEAR-AMBIENT PROGRAM COMMAND ARGUMENTS…

PARENT: process id of membership; when that ends the child is killed. REPORT: a descriptor that
takes the reason if the program cannot be started, and is closed when it is. USER: name, or empty
to stay who we are. CLEAR-AMBIENT: 1 to give up the capabilities that membership has by its unit.
PROGRAM: what must be there and executable; COMMAND may be a shell that starts it.
"""

from __future__ import annotations

import contextlib
import ctypes
import grp
import os
import pwd
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
EXIT_REFUSED = 126


class RefusedError(Exception):
    """The program cannot be started; the text says why."""


def main(argv: list[str]) -> int:
    """Become the program; return only if that is refused."""
    parent, report, user, clear_ambient, program, *command = argv
    os.set_inheritable(int(report), False)
    try:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, 0)  # membership itself may run with a better one
        if user:
            become(user)
        call = ctypes.CDLL(None).prctl
        if clear_ambient == "1":
            call(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
        # Only now: a change of the user takes it back.
        call(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != int(parent):
            return EXIT_REFUSED  # membership ended before that; nobody wants us
        start(program, command)
    except RefusedError as error:
        os.write(int(report), str(error).encode("utf-8", "replace"))
    return EXIT_REFUSED


def become(user: str) -> None:
    """Take the identity of a user: groups, group, user, home.

    Raises:
        RefusedError: unknown, or we may not.

    """
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise RefusedError(f"no user {user!r} on this host") from None
    os.environ.update(USER=user, LOGNAME=user, HOME=entry.pw_dir, SHELL=entry.pw_shell)
    groups = os.getgrouplist(user, entry.pw_gid)
    same = entry.pw_uid == os.geteuid() == os.getuid() and entry.pw_gid == os.getegid()
    if same and os.geteuid() != 0:
        return
    try:
        os.setgroups(groups)
        os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
        os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    except PermissionError:
        ours = pwd.getpwuid(os.geteuid()).pw_name
        raise RefusedError(
            f"not allowed to become {user!r}: membership runs as {ours!r} and needs CAP_SETUID and"
            " CAP_SETGID, or root, to run a program as somebody else"
        ) from None
    except OSError as error:
        group = grp.getgrgid(entry.pw_gid).gr_name
        raise RefusedError(f"cannot become {user!r}, group {group!r}: {error.strerror}") from error


def start(program: str, command: list[str]) -> None:
    """Become the command, if its program is there.

    Raises:
        RefusedError: it is missing, or not to be run by this user.

    """
    try:
        os.chdir("/")
        os.stat(program)
        if not os.path.isfile(program) or not os.access(program, os.X_OK):
            who = pwd.getpwuid(os.geteuid()).pw_name
            raise RefusedError(f"{program}: not an executable file for {who!r}")
        os.execv(command[0], command)
    except OSError as error:
        raise RefusedError(f"{program}: {error.strerror}") from error


if __name__ == "__main__":
    # Python ignores these two; a program expects them as they are by default.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    sys.exit(main(sys.argv[1:]))
