"""A race: what it gives, what it tells of servers that are wrong, and that nothing of it stays. Never who is faster."""

from __future__ import annotations

import functools
import os
import re
import signal
import subprocess
import sys
from importlib import import_module
from itertools import count
from pathlib import Path

import psutil
import pytest
import subjects

import helpers
from helpers.racing import contestants as contestants_module
from helpers.racing.apart import Apart
from helpers.racing.contestants import BY_THE_SYSTEM
from helpers.racing.curves import ARROW
from helpers.racing.packing import PackError
from helpers.racing.race import layout, race
from helpers.racing.race_result import RaceResult, size_of, time_of
from tools.notebooks import Kernel

TESTS = Path(__file__).parent
race_module = import_module("helpers.racing.race")  # in the package, its name is the function's


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Races are short, if of three rounds, and no process of theirs is left."""
    monkeypatch.setenv("COURSE_QUICK", "1")
    monkeypatch.setitem(race_module.QUICK, "rounds", 3)
    yield
    assert not psutil.Process().children(recursive=True)


@pytest.fixture
def patient(monkeypatch):
    """The warm-up lasts until all are served, however busy the machine."""
    monkeypatch.setattr(race_module, "NEW", 20)


@pytest.fixture(scope="module")
def result():
    """A race of three that are right."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_QUICK", "1")
        patch.setitem(race_module.QUICK, "rounds", 3)
        return race([subjects.in_turn, subjects.a_thread_each, subjects.in_a_loop], callers=(1, 4), aim=None)


# ---------------------------------------------------------------------- what it gives


def test_rows_are_plain_data(result):
    assert not result.problems
    names = ["in_turn", "a_thread_each", "in_a_loop"]
    assert [(row["callers"], row["strategy"]) for row in result.rows] == [(n, name) for n in (1, 4) for name in names]
    plain = (str, int, float, bool, type(None))
    assert all(isinstance(value, plain) for row in result.rows + result.raw for value in row.values())
    assert all(0 < row["busy"] <= 1 for row in result.raw)
    assert len(result.raw) == 3 * 2 * 3
    for row in result.rows:
        assert row["rounds"] == 3 and 0 < row["rate_low"] <= row["rate"] <= row["rate_high"]
        assert 0 < row["p50"] <= row["p99"] and row["busy"] > 0
        own = [one for one in result.raw if (one["strategy"], one["callers"]) == (row["strategy"], row["callers"])]
        assert sorted(one["round"] for one in own) == [1, 2, 3]
        assert row["rate"] in [one["rate"] for one in own]


def test_rounds_are_interleaved(result):
    turns = [(row["round"], row["callers"]) for row in result.raw]
    assert turns == sorted(turns)


def test_one_is_served_who_keeps_the_line(result):
    row = next(row for row in result.rows if (row["strategy"], row["callers"]) == ("in_turn", 4))
    assert row["served"] == 1 and row["p50_open"] and row["p99_open"]


@pytest.mark.parametrize("lines", [None, 2])
def test_all_are_served(lines, patient):
    found = race([subjects.a_thread_each, subjects.in_a_loop], callers=4, lines=lines, rounds=1, aim=None)
    assert not found.problems and [row["served"] for row in found.rows] == [4, 4]


def test_the_text_and_the_table_say_the_same(result):
    bundle = result._repr_mimebundle_()
    lines = bundle["text/plain"].splitlines()
    assert lines[0].split("  ")[0] == "strategy" and "callers served" in lines[0]
    for row, line in zip(result.rows, lines[1:7], strict=True):
        assert line.startswith(row["strategy"]) and f"{row['served']} of {row['callers']}" in line
        assert f"{row['rate']:,.0f}" in line and f"{row['rate']:,.0f}" in bundle["text/html"]
    assert bundle["text/html"].count("<tr>") == 7
    assert "Medians of 3 rounds of 0.01 s; " in bundle["text/plain"]
    assert any("load generator was" in note and note in bundle["text/plain"] for note in result.notes)
    assert len(result.verdicts) == 2 and all(words in bundle["text/plain"] for words in result.verdicts)


def test_verdicts_by_name(result):
    words = result.verdict("in_turn", "a_thread_each", callers=1)
    assert words == result.verdict("a_thread_each", "in_turn", 1)
    assert "in_turn" in words and "a_thread_each" in words
    with pytest.raises(KeyError):
        result.verdict("in_turn", "nobody")


def test_costs_are_those_with_the_most_callers():
    same = {"rate": 9.0, "p50": 0.1, "p99": 0.2, "p50_open": False, "p99_open": False}
    same |= {"served": 1, "total": 1000, "round": 1, "busy": 0.1}
    rows = [
        same | {"strategy": name, "callers": callers, "cpu_seconds": cpu}
        for name, callers, cpu in (("a", 1, 9.0), ("a", 10, 0.2), ("b", 10, 0.01))
    ]
    costs = RaceResult(["a", "b"], rows, {}, {}, "here", 1).costs()
    assert repr(costs).splitlines() == [
        "CPU for an answer, callers at once: 10", "  a: 200 µs", "  b: too little to be counted",
    ]  # fmt: skip
    assert "Nothing" not in costs.svg() and ">200 µs<" in costs.svg()


def test_the_cpu_of_processes_that_come_and_go_is_not_told(monkeypatch):
    """It is forgotten with them: what is left would look like a very good server's."""
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    used = count(1)
    monkeypatch.setattr(race_module.Server, "cpu", lambda self: 10.0 * next(used))
    monkeypatch.setattr(race_module, "IN_LINE", 60)
    forks = TESTS.parent / "notebooks" / "scripts" / "process_per_caller.py"
    found = race([forks, subjects.with_a_child], callers=2, rounds=1, aim=None)
    assert not found.problems
    assert [row["cpu"] is None for row in found.rows] == [True, False]


def test_pictures(result):
    rates, waits, memories = result.rates(), result.waits(), result.memories()
    for picture in (rates, waits):
        assert {"in_turn", "a_thread_each", "in_a_loop"} <= set(repr(picture).replace(":", "").split())
    assert waits.svg().count(">a_thread_each<") == 2
    assert "in_turn: not measured" in repr(memories)  # it holds one caller alone


def test_by_its_names():
    short = import_module("helpers.race")
    assert helpers.race is short.race is race and helpers.hold is short.hold
    assert isinstance(race(subjects.in_turn, callers=1, rounds=1, aim=None), short.RaceResult)


def test_one_of_a_kind():
    row = {"strategy": "a", "callers": 1, "rate": 9.0, "p50": 0.1, "p99": 0.2, "p50_open": False, "p99_open": False}
    row |= {"served": 1, "cpu_seconds": 1.0, "total": 10, "round": 1, "busy": 0.1}
    words = repr(RaceResult(["a", "b"], [row, row | {"strategy": "b"}], {}, {}, "here", 1))
    assert "\nOne round of 1 s; here.\n" in words and "\nWith 1 caller at once:\n" in words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 µs"), (5e-6, "5 µs"), (4.2e-4, "420 µs"), (0.0012, "1.2 ms"), (0.025, "25 ms"), (0.00999, "10 ms"),
     (0.003, "3.0 ms"), (0.383, "383 ms"), (1, "1.0 s"), (75, "75 s")],
)  # fmt: skip
def test_times(seconds, words):
    assert time_of(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0.0 KiB"), (1536, "1.5 KiB"), (2**20, "1.0 MiB"), (3e9, "2,861.0 MiB")]
)
def test_sizes(count, words):
    assert size_of(count) == words


ROW = {"strategy": "a", "rate": 9.0, "p50": 0.1, "p99": 0.2, "p50_open": False, "p99_open": False}
ROW |= {"callers": 2, "served": 1, "cpu_seconds": 1.0, "total": 10, "round": 1, "busy": 0.3}


def test_what_limits_a_race_is_said():
    quiet, busy = (RaceResult(["a"], [ROW | {"busy": b}], {}, {}, "here", 1) for b in (0.3, 0.97))
    assert "The load generator was not the limit: busy 30% of the time at most, with a." in quiet.notes
    assert any("was the limit" in note and "a (97%)" in note for note in busy.notes)
    alone = RaceResult(["a"], [ROW | {"callers": 1}], {}, {}, "here", 1)
    assert alone.notes[1:] == ["With one caller the load's own time is part of every answer's: compare the CPU."]


def test_a_wait_that_was_not_over_is_drawn_as_one():
    waits = RaceResult(["a"], [ROW, ROW | {"callers": 10, "p99_open": True}], {}, {}, "here", 1).waits()
    assert repr(waits).splitlines()[2:] == [
        "  a: 100 ms / 100 ms",
        "99 of 100 wait no longer, with 2 / 10 callers at once",
        "  a: 200 ms / >200 ms",
        "> : still waiting when the time was over",
    ]
    assert waits.svg().count(ARROW) == 1 and ">↑ still waiting" in waits.svg()
    ended = RaceResult(["a"], [ROW], {}, {}, "here", 1).waits()
    assert "still waiting" not in ended.svg() + repr(ended)


def test_a_race_in_which_nobody_ran(result):
    found = race(subjects.crashes_at_once, callers=2, aim=None)
    assert repr(found).splitlines()[0] == "Nothing was measured."
    assert found.rows == found.raw == found.verdicts == [] and "Nothing was measured." in found.rates().svg()
    found._repr_html_()


# ---------------------------------------------------------------------- who takes part


def test_a_dict_gives_names():
    found = race(
        {"mine": subjects.a_thread_each, "room": functools.partial(subjects.has_room_for, room=9)}, callers=2, aim=None
    )
    assert found.names == ["mine", "room"] and not found.problems


def test_a_script_takes_part(patient):
    found = race(TESTS / "subjects.py", callers=3, lines=2, aim=None)
    assert found.names == ["subjects"] and not found.problems and found.rows[0]["served"] == 3


C_SERVER = r"""
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int main(void) {
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {0};
    socklen_t size = sizeof address;
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bind(listener, (struct sockaddr *)&address, size);
    listen(listener, 128);
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("listening on port %d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        int caller = accept(listener, NULL, NULL), count = 0;
        char line[5000], answer[6000];
        ssize_t size = send(caller, "hello\n", 6, MSG_NOSIGNAL);
        while (size > 0 && (size = recv(caller, line, sizeof line, 0)) > 0) {
            int length = sprintf(answer, "%d %.*s", ++count, (int)size, line);
            size = send(caller, answer, length, MSG_NOSIGNAL);
        }
        close(caller);
    }
}
"""


def test_a_c_program_is_the_aim(tmp_path):
    source = tmp_path / "swift.c"
    source.write_text(C_SERVER)
    found = race(subjects.a_thread_each, callers=1, aim=source)
    if race_module.contestants([source])[0].why_not:
        assert found.names == ["a_thread_each"]
        pytest.skip("there is no C compiler here")
    assert found.names == ["a_thread_each", "C: swift"] and not found.problems


def test_a_c_program_is_compiled_once(tmp_path, monkeypatch):
    made = []

    def compiled(source, *options):
        made.append(source.name)
        program = source.with_suffix(".out")
        program.touch()
        return program

    monkeypatch.setattr(contestants_module, "compile_c", compiled)
    source, header = tmp_path / "swift.c", tmp_path / "swift.h"
    source.touch()
    header.touch()
    for _ in range(2):
        assert contestants_module.contestant(source).job == {"command": [str(tmp_path / "swift.out")]}
    assert made == ["swift.c"]
    os.utime(header, (1, 9_999_999_999))
    contestants_module.contestant(source)
    (tmp_path / "swift.out").unlink()
    contestants_module.contestant(source)
    assert made == ["swift.c"] * 3
    monkeypatch.setattr(contestants_module, "compile_c", lambda *_: None)
    (tmp_path / "swift.out").unlink()
    assert contestants_module.contestant(source).why_not == "there is no C compiler here"


def test_without_a_compiler(tmp_path, monkeypatch):
    source = tmp_path / "swift.c"
    source.write_text(C_SERVER)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert race(subjects.a_thread_each, callers=1, aim=source).names == ["a_thread_each"]
    found = race([subjects.a_thread_each, source], callers=1, aim=None)
    assert found.problems == {"swift": "there is no C compiler here"} and found.names == ["a_thread_each"]


def test_a_c_program_that_can_not_be_compiled(tmp_path, capfd):
    """As one that needs epoll(7), where there is none: the aim is left out, and who was asked for is told of."""
    source = tmp_path / "swift.c"
    source.write_text("int main(void) { return 0; }\n")
    if contestants_module.compile_c(source) is None:
        pytest.skip("there is no C compiler here")
    source.write_text("#include <sys/there_is_no_such_thing.h>\n")
    assert race(subjects.a_thread_each, callers=1, aim=source).names == ["a_thread_each"]
    found = race([subjects.a_thread_each, source], callers=1, aim=None)
    assert found.problems == {"swift": "it can't be compiled here"} and found.names == ["a_thread_each"]
    assert "there_is_no_such_thing" in capfd.readouterr().err


def test_the_names_of_strategies():
    known = pytest.importorskip("helpers.strategies").STRATEGIES
    found = race([one.__name__ for one in known], callers=2, aim=None)
    assert not found.problems and found.names == [one.__name__ for one in known]
    with pytest.raises(
        ValueError, match="there is no strategy 'nobody', but there are one_at_a_time, thread_per_caller"
    ):
        race("nobody")


def test_quick_is_the_same_race_shorter(monkeypatch):
    class Seen:
        def __init__(self, found, counts, rounds, how):
            self.counts, self.rounds, self.seconds = counts, rounds, how["how_long"]["seconds"]

        def run(self):
            return self.counts, self.rounds, self.seconds

    monkeypatch.undo()
    monkeypatch.setattr(race_module, "_Race", Seen)
    seen = []
    for value in ("1", "0", ""):
        monkeypatch.setenv("COURSE_QUICK", value)
        seen.append(race(subjects.in_turn, callers=(1, 50, 100), seconds=0.5))
    assert seen == [([1, 10], 1, 0.01), ([1, 50, 100], 3, 0.5), ([1, 50, 100], 3, 0.5)]


# ---------------------------------------------------------------------- bounds


@pytest.mark.parametrize(
    "asked",
    [
        {"callers": 0}, {"callers": 1001}, {"callers": ()}, {"callers": (1, -1)}, {"callers": 1.5}, {"seconds": 0},
        {"seconds": 11}, {"rounds": 0}, {"rounds": 16}, {"lines": 0}, {"pause": -1}, {"pause": 2}, {"callers": 10.0},
        {"callers": [1, "a"]}, {"callers": [1, None]}, {"callers": None}, {"seconds": "1"}, {"pause": None},
        {"rounds": 2.5}, {"rounds": None}, {"lines": 1.5}, {"lines": -1}, {"seconds": float("nan")},
    ],
)  # fmt: skip
def test_bounds(asked):
    (name,) = asked
    with pytest.raises((ValueError, TypeError), match=f"{name}: "):
        race(subjects.in_turn, **asked)


@pytest.mark.parametrize("second", [subjects.in_a_loop, "selector_loop", Path("server.c"), [subjects.in_a_loop]])
def test_several_that_are_not_in_a_list(second):
    with pytest.raises(TypeError, match=r"give several strategies in a list: race\(\["):
        race(subjects.in_turn, second)


def yields(listener):
    yield listener.accept()


async def yields_in_a_loop(listener):
    yield listener


@pytest.mark.parametrize(
    ("strategies", "error", "words"),
    [
        ([], ValueError, "nobody takes part"),
        ([subjects.in_turn, subjects.in_turn], ValueError, "two are called in_turn: give them names of their own"),
        ([5], PackError, "5 is no strategy: give a function of a listener"),
        (None, PackError, "None is no strategy: give a function of a listener"),
        ({5: subjects.in_turn}, TypeError, "the names are strings, and 5 is none"),
        (yields, PackError, "yields is a generator function"),
        (yields_in_a_loop, PackError, "yields_in_a_loop is a generator function"),
        (functools.partial(yields), PackError, "this is a generator function"),
        ([Path("nowhere.c")], ValueError, "there is no file nowhere.c"),
    ],
)
def test_who_can_not_take_part(strategies, error, words):
    with pytest.raises(error, match=words):
        race(strategies)


def test_layout():
    (servers, load), words = layout()
    assert not set(servers) & set(load) and "load" in words
    if sys.platform == "linux" and len(os.sched_getaffinity(0)) > 1:
        assert sorted(servers + load) == sorted(os.sched_getaffinity(0)) and len(load) == 1


# ---------------------------------------------------------------------- what is wrong

WRONG = [
    (subjects.crashes_at_once, "ended: LookupError: no such thing, at `raise LookupError.*no such thing"),
    (subjects.crashes_at_a_line, "ended: ZeroDivisionError: it divides by zero, at `raise ZeroDivisionError"),
    (subjects.crashes_in_its_threads, r"hung up on caller \d, unanswered, .* in a thread or a task: ZeroDivisionError"),
    (subjects.crashes_in_its_tasks, r"hung up on caller \d, unanswered, .* in a thread or a task: ZeroDivisionError"),
    (subjects.returns, "ended: it returned"),
    (subjects.vanishes, "ended: its process is gone"),
    (subjects.is_killed, f"ended: {'its process is gone' if sys.platform == 'win32' else BY_THE_SYSTEM}$"),
    (subjects.accepts_nobody, "answered none of 3 callers, and greeted none"),
    (subjects.is_busy, "answered none of 3 callers, and greeted none"),
    (subjects.says_nothing, "answered none of 3 callers, and greeted none"),
    (subjects.does_not_greet, "answered none of 3 callers, and greeted none"),
    (subjects.never_answers, "answered none of 3 callers$"),
    (
        subjects.mixes_up,
        r"mixes its callers up: caller \d should have heard b'\d caller \d\\n' and heard b'\d caller \d\\n'",
    ),
    (subjects.counts_for_all, r"answers wrongly: caller \d should have heard b'\d+ caller \d\\n' and heard"),
    (subjects.shouts, r"answers wrongly: caller \d should have heard b'1 caller \d\\n' and heard b'1 CALLER \d\\n'"),
    (subjects.hangs_up, r"hung up on caller \d, after 1 answer, who had not said quit"),
]


@pytest.mark.parametrize(("subject", "words"), WRONG)
def test_what_is_wrong_is_told(subject, words, monkeypatch):
    monkeypatch.setattr(race_module, "STAND", 5)
    if "answered none" in words:  # it will not, however long one waits; but it may greet
        monkeypatch.setattr(race_module, "FIRST", 0.2 if "greeted none" in words else 2.0)
    found = race(subject, callers=3, rounds=1, aim=None)
    assert list(found.problems) == [subject.__name__]
    assert re.match(words, found.problems[subject.__name__]), found.problems
    assert f"{subject.__name__}: {found.problems[subject.__name__]}" in repr(found)


def test_the_others_race_on():
    found = race([subjects.mixes_up, subjects.a_thread_each, subjects.returns], callers=3, aim=None)
    assert sorted(found.problems) == ["mixes_up", "returns"] and found.names == ["a_thread_each"]
    assert found.rows[0]["rounds"] == 3


def test_more_than_it_has_room_for():
    found = race(functools.partial(subjects.has_room_for, room=2), callers=3, rounds=1, aim=None)
    words = found.problems["strategy"]
    assert re.match(r"greeted caller \d with b'all lines are busy\\n', and others with b'who", words)


@pytest.mark.parametrize("subject", [subjects.talkative, subjects.with_a_child])
def test_what_harms_nobody(subject):
    assert not race(subject, callers=3, rounds=1, aim=None).problems


def test_a_process_for_each_caller(patient):
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    found = race(subjects.a_process_each, callers=3, rounds=1, aim=None)
    assert not found.problems and found.rows[0]["served"] == 3


@pytest.mark.parametrize(
    ("limit", "words"),
    [("descriptors", r"`ulimit -n 4096` .*; where that is refused, root raises"), ("ports", "ip_local_port_range"),
     ("[Errno 9] odd", "try it with fewer callers")],
)  # fmt: skip
def test_a_limit_of_the_machine(limit, words, monkeypatch):
    ask = Apart.ask

    def met(self, job, seconds):
        return {"limit": limit} if job["do"] == "talk" else ask(self, job, seconds)

    monkeypatch.setattr(Apart, "ask", met)
    with pytest.raises(OSError, match=f"can't open 2 sockets, stopped by {re.escape(limit)}: .*{words}"):
        race(subjects.in_turn, callers=2, rounds=1, aim=None)


def test_callers_who_say_quit_and_dial_again():
    found = race([subjects.a_thread_each, subjects.in_a_loop, subjects.in_turn], callers=3, lines=2, aim=None)
    assert not found.problems and len(found.rows) == 3
    found = race(subjects.stays_after_quit, callers=3, lines=2, rounds=1, aim=None)
    assert "should have heard b'bye\\n' and heard b'3 quit\\n'" in found.problems["stays_after_quit"]


def test_callers_who_think():
    """However fast the server: who thinks for half a second has at most one answer in a moment shorter than that."""
    found = race(subjects.a_thread_each, callers=2, pause=0.5, aim=None)
    assert not found.problems
    assert all(row["answers"] <= 2 * (1 + row["seconds"] / 0.5) for row in found.raw)


# ---------------------------------------------------------------------- its end


@pytest.mark.parametrize("moment", range(1, 9))
def test_an_interrupt_at_any_moment(moment, monkeypatch):
    hear, heard = Apart.hear, count(1)

    def interrupted(self, seconds):
        if next(heard) == moment:
            raise KeyboardInterrupt
        return hear(self, seconds)

    monkeypatch.setattr(Apart, "hear", interrupted)
    with pytest.raises(KeyboardInterrupt):
        race([subjects.a_thread_each, subjects.with_a_child], callers=2, aim=None)


STARTED = """
import sys
sys.path.insert(0, {tests!r})
import subjects
from helpers import race
import helpers.racing.apart
give, hear = helpers.racing.apart.Apart.give, helpers.racing.apart.Apart.hear
def given(self, job):
    give(self, job)
    if job.get("do") == "talk":
        print("racing", flush=True)
def heard(self, seconds):
    told = hear(self, seconds)
    if "answers" in told:
        print("measured", flush=True)
    return told
helpers.racing.apart.Apart.give, helpers.racing.apart.Apart.hear = given, heard
race([subjects.a_thread_each, subjects.with_a_child, subjects.in_turn], callers=2, seconds=10, aim=None)
"""


@pytest.mark.parametrize("how", ["SIGINT", "SIGKILL"])
def test_a_signal_in_the_middle(how, monkeypatch):
    """It ends all, and nobody waits for the first measurement, which would last ten seconds."""
    if not hasattr(signal, how) or os.name == "nt":
        pytest.skip("this system has no such signal")
    monkeypatch.delenv("COURSE_QUICK")
    code = STARTED.format(tests=str(TESTS))
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout.readline() == "racing\n"
        children = psutil.Process(starter.pid).children(recursive=True)
        assert len(children) >= 4
        starter.send_signal(getattr(signal, how))
        assert starter.communicate()[0] == ""
    _, alive = psutil.wait_procs(children, timeout=10)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []


CLASSES = """
from dataclasses import dataclass
from enum import Enum
class Left(Exception): pass
@dataclass
class Line: text: bytes
class State(Enum): OPEN, OVER = range(2)
"""
CELL = """
from helpers import socket
import threading
GREETING = b"hello from a cell\\n"
lock = threading.Lock()
class Counter:
    def __init__(self): self.count = 0
    def next(self):
        self.count += 1
        return self.count
def one(connection):
    with connection, connection.makefile("rb") as lines:
        counter = Counter()
        connection.sendall(GREETING)
        for line in lines:
            with lock:
                connection.sendall(b"%d %b" % (counter.next(), Line(line).text))
            if State.OPEN is State.OVER:
                raise Left
def from_a_cell(listener):
    assert isinstance(listener, socket.socket) and "recorded" not in socket.__name__
    while True:
        threading.Thread(target=one, args=(listener.accept()[0],)).start()
"""


def test_a_cell_of_a_notebook_races():
    with Kernel(TESTS.parent) as kernel:
        kernel.run(CLASSES)
        kernel.run(CELL)
        kernel.run("from helpers import race\nresult = race(from_a_cell, callers=(1, 3), aim=None)")
        assert kernel.ask("(result.problems, result.names)") == ({}, ["from_a_cell"])
        shown = kernel.run("race(from_a_cell, callers=2, rounds=1, aim=None)")
        texts = [output for output in shown.outputs if output.output_type == "display_data"]
        assert [output.data["text/plain"] for output in texts] == [""]  # the bar leaves the same each time: nothing
