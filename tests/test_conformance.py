"""The conformance cases can fail: each of these wrong servers, plausible all of them, is told what it did."""

from __future__ import annotations

import re
import selectors

import pytest

from helpers import serving, strategies
from helpers.exercises import conformance
from helpers.exercises.conformance import conforms
from helpers.exercises.exercise import NotYet
from helpers.strategies import GREETING, LIMIT, Caller, Conversation, accept, selector_loop


def verdict(serve, several: bool = True) -> str:
    """What is said of a server; "" if nothing is wrong with it."""
    try:
        with serving(serve) as server:
            conforms((server.host, server.port), several)
    except NotYet as problem:
        return str(problem)
    return ""


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """What these servers never do is not waited for as long as with others."""
    monkeypatch.setattr(conformance, "PATIENCE", 3.0)


# ---------------------------------------------------------------------- wrong conversations


class OneReceiveIsOneLine(Conversation):
    def hear(self, data):
        return super().hear(data and data.rstrip(b"\r\n").replace(b"\n", b" ") + b"\n")


class ForgetsTheRest(Conversation):
    def hear(self, data):
        said, self.rest = super().hear(data), b""
        return said


class AnswersHalfALine(Conversation):
    def hear(self, data):
        if data or not self.rest:
            return super().hear(data)
        said, self.over = super().hear(b"\n"), True
        return said


class AnswersAfterQuit(Conversation):
    def hear(self, data):
        said = super().hear(data)
        before, quit, after = data.partition(b"quit\n")
        if quit and after:
            self.over = False
            said += super().hear(after)
            self.over = True
        return said


class NeverHangsUp(Conversation):
    def hear(self, data):
        said = super().hear(data)
        self.over = not data
        return said


class StripsTheText(Conversation):
    def hear(self, data):
        return re.sub(rb"(\d+) *(.*?) *\n", rb"\1 \2\n", super().hear(data))


class KeepsTheReturn(Conversation):
    def hear(self, data):
        return super().hear(data.replace(b"\r\n", b"\r\r\n"))


class TakesTextForUtf8(Conversation):
    def hear(self, data):
        return super().hear(data.decode("utf-8", errors="replace").encode())


class SkipsEmptyLines(Conversation):
    def hear(self, data):
        before, said = self.number, super().hear(data)
        kept = [line for line in said.split(b"\n") if not line.endswith(b" ")]
        self.number = before + sum(line != b"bye" for line in kept[:-1])
        return b"\n".join(kept)


class TakesEndlessLines(Conversation):
    def hear(self, data):
        self.rest += data
        whole, newline, rest = self.rest.rpartition(b"\n")
        said, self.rest = b"", rest
        for line in whole.split(b"\n") if newline else []:
            if not self.over:
                self.rest = b""
                said += super().hear(line[:LIMIT] + b"\n")
        self.over, self.rest = self.over or not data, rest
        return said


class OneTooFew(Conversation):
    def hear(self, data):
        said = super().hear(data)
        self.over = self.over or len(self.rest) >= LIMIT
        return said


class CountsFromZero(Conversation):
    def __init__(self):
        super().__init__()
        self.number = -1


shared = {"number": 0, "rest": b""}


class SharesItsNumber(Conversation):
    number = property(lambda self: shared["number"], lambda self, n: shared.update(number=n or shared["number"]))


class SharesItsRest(Conversation):
    rest = property(lambda self: shared["rest"], lambda self, rest: shared.update(rest=rest))


WRONG_CONVERSATIONS = {
    OneReceiveIsOneLine: "A thousand lines may come at once",
    ForgetsTheRest: "A line may come in two pieces|A thousand lines may come at once",
    AnswersHalfALine: "A caller who has ended its stream hears all answers, to whole lines alone",
    AnswersAfterQuit: 'What comes after the line "quit" is not answered',
    NeverHangsUp: "should have hung up: the caller heard nothing, and then nothing for 3 seconds",
    StripsTheText: "A line is bytes: empty, with spaces around",
    KeepsTheReturn: r"and heard b'2 how are you\\r",
    TakesTextForUtf8: "A line is bytes: .* no UTF-8",
    SkipsEmptyLines: "A line may come in two pieces.*should have heard",
    TakesEndlessLines: "A line of 4096 bytes is answered; at one more",
    OneTooFew: "A line of 4096 bytes is answered; at one more",
    CountsFromZero: r"Lines are numbered from 1.* should have heard b'1 how are you\\n', and heard b'0",
    SharesItsNumber: "Lines are numbered from 1, in each call anew",
    SharesItsRest: "Callers talk at once|Callers hang up in the middle of a line",
}


@pytest.mark.parametrize("wrong", WRONG_CONVERSATIONS)
def test_a_wrong_conversation(wrong, monkeypatch):
    monkeypatch.setattr(strategies, "Conversation", wrong)
    assert re.search(WRONG_CONVERSATIONS[wrong], verdict(selector_loop), re.DOTALL)


def test_numbers_that_two_share_only_when_they_are_there_at_once(monkeypatch):
    """Each call begins with 1, but another one's lines are counted, too."""

    class Shares(SharesItsNumber):
        def __init__(self):
            super().__init__()
            shared["number"] = 0

    monkeypatch.setattr(strategies, "Conversation", Shares)
    assert "Callers talk at once" in verdict(selector_loop)
    assert not verdict(selector_loop, several=False)


# ---------------------------------------------------------------------- wrong ways to serve


def dies_at_a_reset(listener):
    while True:
        conversation = Conversation()
        with accept(listener) as connection:
            connection.sendall(GREETING)
            while not conversation.over:
                connection.sendall(conversation.hear(connection.recv(4096)))


def greets_late(listener):
    while True:
        conversation, greeting = Conversation(), GREETING
        with accept(listener) as connection:
            try:
                while not conversation.over:
                    said = conversation.hear(connection.recv(4096))
                    if said:
                        connection.sendall(greeting + said)
                        greeting = b""
            except OSError:
                pass


def hears_all_first(listener):
    """It answers when the caller has ended its stream, and not before."""
    while True:
        with accept(listener) as connection:
            try:
                connection.sendall(GREETING)
                stream = b""
                while data := connection.recv(4096):
                    stream += data
                connection.sendall(Conversation().hear(stream))
            except OSError:
                pass


class SendsOnce(Caller):
    """What `send` did not take is forgotten."""

    def go_on(self):
        events = super().go_on()
        self.unsent = b""
        return events and selectors.EVENT_READ


class KeepsAllAnswers(Caller):
    """It reads on, whatever is unsent."""

    def __init__(self, connection):
        super().__init__(connection)
        self.unsent = bytearray(GREETING)

    def go_on(self):
        for act in (self.hear, self.send):
            try:
                act()
            except BlockingIOError:
                pass
            except OSError:
                return None
        if self.conversation.over:
            return selectors.EVENT_WRITE if self.unsent else None
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if self.unsent else 0)

    def hear(self):
        self.unsent += self.conversation.hear(self.connection.recv(65536))

    def send(self):
        del self.unsent[: self.connection.send(self.unsent)]


class AnswersOneLineARound(Caller):
    """At the end of the stream it forgets the lines that it has not come to."""

    waiting = b""

    def go_on(self):
        try:
            data = self.connection.recv(4096)
            if not data:
                return None
            self.waiting += data
        except BlockingIOError:
            pass
        line, newline, rest = self.waiting.partition(b"\n")
        if newline and not self.unsent:
            self.unsent, self.waiting = self.conversation.hear(line + newline), rest
        self.unsent = self.unsent[self.connection.send(self.unsent) :]
        if self.conversation.over and not self.unsent:
            return None
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if b"\n" in self.waiting or self.unsent else 0)


class WaitsForOne(Caller):
    """In a loop that serves all, it waits until one has taken its answers."""

    def go_on(self):
        self.connection.setblocking(True)
        try:
            return super().go_on()
        finally:
            self.connection.setblocking(False)


class RaisesAtAReset(Caller):
    def go_on(self):
        try:
            if not self.unsent:
                self.unsent = self.conversation.hear(self.connection.recv(4096))
            self.unsent = self.unsent[self.connection.send(self.unsent) :]
        except BlockingIOError:
            pass
        if self.unsent:
            return selectors.EVENT_WRITE
        return None if self.conversation.over else selectors.EVENT_READ


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (SendsOnce, "From one who reads no answers .* (where do answers go|should have heard)"),
        (KeepsAllAnswers, "where do answers go"),
        (AnswersOneLineARound, "A caller who has ended its stream hears all answers"),
        (WaitsForOne, "While one reads no answers, others are served"),
        (RaisesAtAReset, "Callers (hang up|reset)"),
    ],
)
def test_a_wrong_loop(wrong, words, monkeypatch):
    monkeypatch.setattr(strategies, "Caller", wrong)
    assert re.search(words, verdict(selector_loop))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (dies_at_a_reset, "Callers (hang up|reset)"),
        (greets_late, "The greeting comes first"),
        (hears_all_first, "Lines are numbered from 1.* and then nothing for 3 seconds"),
    ],
)
def test_a_wrong_server(wrong, words):
    assert re.search(words, verdict(wrong, several=False))
