"""The article's program in C, whole again: it compiles without a warning, takes a call, and talks to Python."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

DEADLINE = 60  # seconds; nothing waits for it when all is well
SOURCES = Path(__file__).parent.parent / "notebooks" / "c"
COMPILER = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
REPLY = "I got your message"

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="the C programs are written for Linux and macOS"),
    pytest.mark.skipif(COMPILER is None, reason="no C compiler here (cc, gcc or clang)"),
]

Program = subprocess.Popen[str]
Start = Callable[..., Program]


def compile_c(name: str, folder: Path, *options: str) -> Path:
    command = [str(COMPILER), *options, "-o", str(folder / name), str(SOURCES / f"{name}.c")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 0, done.stderr
    return folder / name


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("c")
    return {name: compile_c(name, folder) for name in ("server", "client")}


@pytest.fixture
def start(programs: dict[str, Path]) -> Iterator[Start]:
    """Start `server` or `client`; at the end of the test, or at the deadline, each is ended by its own Popen."""
    started: list[Program] = []

    def start(name: str, *arguments: str) -> Program:
        program = subprocess.Popen(
            [programs[name], *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )
        started.append(program)
        return program

    def end() -> None:
        for program in started:
            program.kill()

    alarm = threading.Timer(DEADLINE, end)
    alarm.start()
    yield start
    alarm.cancel()
    end()
    for program in started:
        program.wait(DEADLINE)
        assert program.stdout is not None
        program.stdout.close()


def port_of(server: Program) -> int:
    """The number that the server prints once it listens."""
    assert server.stdout is not None
    line = server.stdout.readline()
    found = re.fullmatch(r"listening on port (\d+)\n", line)
    assert found, line
    return int(found[1])


def rest_of(program: Program) -> tuple[int, str]:
    """Its exit status and what it printed besides, once it has ended."""
    assert program.stdout is not None
    text = program.stdout.read()
    return program.wait(DEADLINE), text


# ---------------------------------------------------------------------- compiling


@pytest.mark.parametrize("options", [[], ["-std=c99", "-pedantic"], ["-std=c11", "-pedantic", "-O2"]])
@pytest.mark.parametrize("name", ["server", "client"])
def test_it_compiles_without_a_warning(name: str, options: list[str], tmp_path: Path) -> None:
    compile_c(name, tmp_path, "-Wall", "-Wextra", "-Werror", *options)


@pytest.mark.parametrize("name", ["server", "client"])
def test_it_is_small(name: str) -> None:
    lines = (SOURCES / f"{name}.c").read_text(encoding="ascii").splitlines()
    assert len(lines) <= 70
    assert max(map(len, lines)) <= 120


# ---------------------------------------------------------------------- a call


def test_c_talks_to_c(start: Start) -> None:
    server = start("server", "0")
    client = start("client", "127.0.0.1", str(port_of(server)), "Good morning")
    assert rest_of(client) == (0, f"{REPLY}\n")
    assert rest_of(server) == (0, "Here is the message: Good morning\n")


def test_the_client_finds_an_address_by_its_name_and_has_something_to_say(start: Start) -> None:
    server = start("server", "0")
    client = start("client", "localhost", str(port_of(server)))
    assert rest_of(client) == (0, f"{REPLY}\n")
    assert rest_of(server) == (0, "Here is the message: hello\n")


def test_python_calls_the_c_server(start: Start) -> None:
    server = start("server", "0")
    with socket.create_connection(("127.0.0.1", port_of(server)), DEADLINE) as client:
        client.sendall("grüße".encode())
        with client.makefile("rb") as stream:
            assert stream.read() == REPLY.encode()  # to the end: the server has closed
    assert rest_of(server) == (0, "Here is the message: grüße\n")


def test_the_c_client_calls_python(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE)
        client = start("client", "127.0.0.1", str(listener.getsockname()[1]), "Good morning")
        transfer, _ = listener.accept()
        with transfer:
            transfer.settimeout(DEADLINE)
            assert transfer.recv(255) == b"Good morning"
            transfer.sendall("grüße".encode())
            assert rest_of(client) == (0, "grüße\n")
            assert transfer.recv(255) == b""


def test_of_a_long_message_the_server_reads_255_bytes(start: Start) -> None:
    server = start("server", "0")
    with socket.create_connection(("127.0.0.1", port_of(server)), DEADLINE) as client:
        client.sendall(b"x" * 300)
        assert rest_of(server) == (0, f"Here is the message: {'x' * 255}\n")


def test_a_caller_who_says_nothing(start: Start) -> None:
    server = start("server", "0")
    socket.create_connection(("127.0.0.1", port_of(server)), DEADLINE).close()
    assert rest_of(server) == (0, "The caller hung up without a message\n")


def test_a_server_that_says_nothing(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE)
        client = start("client", "127.0.0.1", str(listener.getsockname()[1]))
        transfer, _ = listener.accept()
        with transfer:
            transfer.settimeout(DEADLINE)
            assert transfer.recv(255) == b"hello"
    assert rest_of(client) == (0, "The server hung up without a reply\n")


def test_a_caller_who_is_gone_does_not_kill_the_server(start: Start) -> None:
    server = start("server", "0")
    port = port_of(server)
    server.send_signal(signal.SIGSTOP)  # so that the call is over before the server looks at it
    os.waitpid(server.pid, os.WUNTRACED)
    with socket.create_connection(("127.0.0.1", port), DEADLINE) as caller:
        caller.sendall(b"never mind")
        caller.shutdown(socket.SHUT_WR)
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close() sends a reset
    server.send_signal(signal.SIGCONT)
    status, text = rest_of(server)
    assert status == 1  # killed by SIGPIPE it would be -13
    assert "ERROR " in text


# ---------------------------------------------------------------------- mistakes


@pytest.mark.parametrize("arguments", [[], ["1", "2"]])
def test_the_server_says_how_it_is_called(start: Start, arguments: list[str]) -> None:
    status, text = rest_of(start("server", *arguments))
    assert (status, text.startswith("usage: "), text.endswith("server port\n")) == (1, True, True)


@pytest.mark.parametrize("arguments", [[], ["127.0.0.1"], ["127.0.0.1", "1", "2", "3"]])
def test_the_client_says_how_it_is_called(start: Start, arguments: list[str]) -> None:
    status, text = rest_of(start("client", *arguments))
    assert (status, text.startswith("usage: "), text.endswith("client host port [message]\n")) == (1, True, True)


@pytest.mark.parametrize("port", ["http", "", "12x", "-1", "65536", "99999999999999999999"])
def test_a_port_that_is_no_port(start: Start, port: str) -> None:
    assert rest_of(start("server", port)) == (1, f'the port must be a number from 0 to 65535, not "{port}"\n')
    assert rest_of(start("client", "a", port)) == (1, f'the port must be a number from 1 to 65535, not "{port}"\n')


def test_a_port_in_use(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert rest_of(start("server", str(taken.getsockname()[1]))) == (
            1,
            f"ERROR on bind: {os.strerror(errno.EADDRINUSE)}\n",
        )


def test_a_number_where_nobody_listens(start: Start) -> None:
    with socket.socket() as silent:  # it has the port, so that nobody else gets it, and does not listen
        silent.bind(("127.0.0.1", 0))
        assert rest_of(start("client", "127.0.0.1", str(silent.getsockname()[1]))) == (
            1,
            f"ERROR connecting: {os.strerror(errno.ECONNREFUSED)}\n",
        )
