"""A process for every caller: each call has a copy of the whole program, which ends with the call.

    python process_per_caller.py [port]

It runs on Linux and on macOS; Windows has no fork(2).  A notebook must not fork: of its kernel's threads the copy has
none, but it has the locks that they held.  So this is a script of its own.  Who kills the parent alone ends no
call that stands: each child ends when its caller leaves.  (Ctrl-C in a terminal goes to all of them.)
"""

import os
import signal
import sys

from helpers.strategies import accept, listen_and, talk


def process_per_caller(listener):
    """The parent accepts, a child talks; each closes what is for the other."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody will ask how a child ended: so it leaves no zombie
    while True:
        connection = accept(listener)
        try:
            child = os.fork()
        except OSError:  # the system has no process left
            child = None
        if child == 0:
            listener.close()
            talk(connection)
            os._exit(0)  # not on with the parent's loop
        connection.close()  # the call ends when both have closed it


if __name__ == "__main__":
    listen_and(process_per_caller, *map(int, sys.argv[1:]))
