# case: {"exit": 0, "out": "parent\nforked\nthe fork ended with 4\nshell\nthe shell ended with 3\nb'captured\\n'\nfrom a pool: [1, 4, 9]\n", "err": "shell's error\n", "children": [{"exit": 0, "out": "parent\nforked\nthe fork ended with 4\nshell\nthe shell ended with 3\nb'captured\\n'\nfrom a pool: [1, 4, 9]\n", "err": "shell's error\n"}], "fresh": true}
"""What a process starts by other means than `spawn` works as it does everywhere."""

import multiprocessing
import os
import subprocess
import sys
import warnings

from constellation import ProcessExited, Receiver, init, spawn

# Python 3.12 and later warn of a fork beside the library's thread.
warnings.simplefilter("ignore", DeprecationWarning)


def square(number):
    return number * number


def work(parent):
    print("parent")
    fork = os.fork()
    if not fork:
        print("forked")
        sys.exit(4)
    print("the fork ended with", os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]))
    code = subprocess.call(["sh", "-c", 'echo shell; echo "shell\'s error" >&2; exit 3'])
    print("the shell ended with", code)
    print(subprocess.check_output(["echo", "captured"]))
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print("from a pool:", pool.map(square, [1, 2, 3]))


def main():
    init()
    work(None)
    try:
        Receiver(spawn(work).block()).recv().block()
    except ProcessExited as error:
        assert error.status.success


if __name__ == "__main__":
    main()
