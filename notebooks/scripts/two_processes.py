"""Two processes on one port, with an event loop each: the kernel deals the callers out to them.

    python two_processes.py [port]

It is for Linux, where SO_REUSEPORT does that (socket(7), since Linux 3.9).  macOS has the option, but does not deal
out (not run here); Windows has neither the option nor fork(2).
"""

import os
import socket
import sys
import threading

from helpers.strategies import selector_loop


def listen(port, backlog):
    """A listener on a port on which others, of the same user, may listen as well."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(backlog)
    return listener


def end_with_the_parent(line):
    """The parent alone holds the other end of this pipe: when the parent ends, however it does, the pipe ends."""
    os.read(line, 1)
    os._exit(0)


def two_processes(port=0, backlog=128):
    """Both listeners are there before the child is; each process closes what is for the other."""
    ours = listen(port, backlog)
    port = ours.getsockname()[1]
    for_the_child = listen(port, backlog)
    childs_end, our_end = os.pipe()
    if os.fork() == 0:
        ours.close()
        os.close(our_end)
        threading.Thread(target=end_with_the_parent, args=[childs_end], daemon=True).start()
        selector_loop(for_the_child)
    for_the_child.close()
    print("listening on port", port, flush=True)
    selector_loop(ours)


if __name__ == "__main__":
    try:
        two_processes(*map(int, sys.argv[1:]))
    except KeyboardInterrupt:
        pass
