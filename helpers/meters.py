"""Two meters beside a server: how many calls it serves in a second, and how long a caller waits at most.

The callers are Python's plain sockets, all in one thread, and speak the protocol of Part II (see `helpers.strategies`).
What the meters show is drawn, and never compared: it is another machine's business every time.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from helpers.racing.curves import Bars, Picture
from helpers.racing.race_result import time_of
from helpers.serving import serving
from helpers.strategies import GREETING

PATIENCE = 5.0  #: seconds for a dial, which the kernel answers
ANSWERED = GREETING + b"1 hello\nbye\n"
Serve = Callable[[Any], Any]


class Meters(Picture):
    """What the meters of several servers showed: `rates`, calls a second, and `longest`, seconds, by their names.

    Who was still waiting when the time was over counts with the wait so far; one of `seconds` served nobody.
    """

    def __init__(self, rates: Mapping[str, float], longest: Mapping[str, float], seconds: float, silent: int) -> None:
        self.rates, self.longest = dict(rates), dict(longest)
        beside = f"beside {silent or 'no'} silent caller{'s' * (silent != 1)}"
        self.title = f"Calls served a second, {beside}"
        self._bars = (
            Bars(self.title, self.rates, "{:,.0f}".format, ""),
            Bars("The longest wait", self.longest, lambda s: time_of(s) if s < seconds else f"over {time_of(s)}", ""),
        )

    def __repr__(self) -> str:
        return "\n".join(map(repr, self._bars))

    def _drawn(self) -> tuple[str, int]:
        (above, height), (below, more) = (bars._drawn() for bars in self._bars)
        return f'{above}<g transform="translate(0 {height})">{below}</g>', height + more


def meters(
    *servers: Serve, silent: int = 1, callers: int = 10, calls: int = 100, seconds: float = 0.5, **named: Serve
) -> Meters:
    """Read both meters of each server (functions of a listener; `name=server` gives one another name).

    First `silent` callers dial, who say nothing, and dial anew when the server hangs up on them.  Then `callers` dial,
    say a line and quit; whoever is served dials once more, until so many `calls` were made, or the `seconds` are over.
    """
    rates, longest = {}, {}
    for name, serve in {**{serve.__name__: serve for serve in servers}, **named}.items():
        with serving(serve) as server:
            rates[name], longest[name] = _read((server.host, server.port), silent, callers, calls, seconds)
    return Meters(rates, longest, seconds, silent)


def _read(address: tuple[str, int], silent: int, callers: int, calls: int, seconds: float) -> tuple[float, float]:
    with selectors.DefaultSelector() as selector, ExitStack() as on_the_line:

        def dial(text: bytes) -> None:
            line = on_the_line.enter_context(socket.create_connection(address, PATIENCE))
            if text:
                line.sendall(text)
            line.setblocking(False)
            selector.register(line, selectors.EVENT_READ, (text, time.monotonic(), bytearray()))

        for _ in range(silent):
            dial(b"")
        began, served, waits = time.monotonic(), 0, [0.0]
        dialled = min(callers, calls)
        for _ in range(dialled):
            dial(b"hello\nquit\n")
        while served < calls and (left := began + seconds - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                text, since, heard = key.data
                try:
                    data = key.fileobj.recv(4096)  # type: ignore[union-attr]
                except OSError:  # a reset
                    data = b""
                heard += data
                if data:
                    continue
                selector.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]
                if text and heard == ANSWERED:
                    served += 1
                    waits.append(time.monotonic() - since)
                if not text or dialled < calls:
                    dialled += bool(text)
                    dial(text)
        now = time.monotonic()
        waits += [now - since for text, since, _ in (key.data for key in selector.get_map().values()) if text]
        return served / (now - began), min(seconds, max(waits))
