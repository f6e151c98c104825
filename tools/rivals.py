"""Servers of the standard library, to measure ours against: the same conversation, another's threads."""

from __future__ import annotations

import socket
import socketserver
from importlib import import_module


def threading_tcp_server(listener: socket.socket) -> None:
    """`socketserver.ThreadingTCPServer`, whose handler talks as `thread_per_caller` does."""
    talk = import_module("helpers.strategies").talk

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            talk(self.request)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler, bind_and_activate=False)
    server.socket.close()  # it made one, and is to serve this
    server.socket = listener
    server.serve_forever()
