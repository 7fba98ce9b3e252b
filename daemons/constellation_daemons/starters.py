"""The scripts that a program on its way to `init()` is started by.

They are run by ``python -I -S -c``, with the process id of who starts them, the directory of the
program, its label and its arguments; so they take from the standard library what they need, and
little of that. The program is told who it is by its process id among others, and dies with its
parent; neither can be had without a step between the start and the program.
"""

from __future__ import annotations

from typing import Final

__all__ = ["GUARDED", "PLAIN"]

_BEGIN = """\
import ctypes, os, signal, sys
parent, directory, label = int(sys.argv[1]), sys.argv[2], sys.argv[3]
prctl = getattr(ctypes.CDLL(None), "prctl", None) or (lambda *_: None)
NAME, DEATH_SIGNAL, SUBREAPER = 15, 1, 36

def become_program():
    os.chdir(directory)
    own = label.replace("PID", str(os.getpid()))
    os.execv(sys.executable, [sys.executable, "-X", own, *sys.argv[4:]])
"""

PLAIN: Final = (
    _BEGIN
    + """
prctl(DEATH_SIGNAL, signal.SIGKILL)
if os.getppid() != parent:
    os._exit(1)
become_program()
"""
)
"""Becomes the program itself, whose descendants are for who starts it."""

GUARDED: Final = (
    _BEGIN
    + """
import time
STOP = {signal.SIGTERM, signal.SIGCHLD}
signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
prctl(NAME, b"cst-survey")
prctl(DEATH_SIGNAL, signal.SIGTERM)
prctl(SUBREAPER, 1)
if os.getppid() != parent:
    os._exit(1)
own, status = os.getpid(), None
program = os.fork()
if program == 0:
    os.setpgid(0, 0)
    prctl(DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != own:
        os._exit(1)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    become_program()

def kill(send, process):
    try:
        send(process, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass

def reap():
    '''Take the dead. Whether there are others.'''
    global status
    while True:
        try:
            process, ended = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if process == 0:
            return True
        if process == program:
            status = ended

def children():
    try:
        with open(f"/proc/self/task/{own}/children") as file:
            return list(map(int, file.read().split()))
    except FileNotFoundError:
        return []

while status is None and signal.sigwait(STOP) == signal.SIGCHLD:
    reap()
if status is None:
    kill(os.killpg, program)
# Those of its descendants whose parents die come to be children here.
end = time.monotonic() + 1.0
while reap() and time.monotonic() < end:
    for child in children():
        kill(os.kill, child)
    time.sleep(0.001)  # nothing tells of a child that is inherited
if status is None:
    os._exit(1)
if os.WIFSIGNALED(status):
    # As the program has ended, so does this.
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    number = os.WTERMSIG(status)
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.kill(own, number)
os._exit(os.WEXITSTATUS(status))
"""
)
"""Starts the program, and outlives it: whatever it has started is killed when it ends, or at
SIGTERM, or when who started this dies. Then this ends as the program has."""
