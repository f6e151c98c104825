"""The tables of the appendices: what a verdict and an experiment give together, as text and as HTML."""

from __future__ import annotations

import errno
import re
import socket
from xml.etree import ElementTree

import pytest

from helpers.claims import VERDICTS, Claims, Errors, name_of


@pytest.fixture
def claims():
    return Claims()


@pytest.fixture
def errors():
    return Errors()


def cells(table):
    """The texts of the table's HTML, a list for each row, its head first; it must be well-formed."""
    rows = ElementTree.fromstring(table._repr_html_()).iter("tr")
    return [["".join(cell.itertext()) for cell in row] for row in rows]


def expect(errors, name, function, *arguments, at="recv(2)"):
    with errors.expect(name, at, "it means", "do this", "elsewhere too"):
        function(*arguments)


def raise_(problem):
    raise problem


# ---------------------------------------------------------------------- claims


@pytest.mark.parametrize(
    ("verdict", "here", "told"),
    [
        ("holds", True, "✓ seen"),
        ("holds", False, "✗ contradicted here: seen"),
        ("holds", None, "– not tried here"),
        ("held then", False, "✓ seen"),
        ("held then", True, "✗ contradicted here: seen"),
        ("never held", False, "✓ seen"),
        ("never held", True, "✗ contradicted here: seen"),
        ("never held", None, "– not tried here"),
        ("a matter of taste", None, "seen"),
    ],
)
def test_what_was_seen_stands_beside_the_verdict(claims, capsys, verdict, here, told):
    claims.check("It is so", verdict, "accept(2)", here=here, saw="seen")
    assert capsys.readouterr().out == f"{told} → {verdict}\n"
    assert cells(claims)[1] == ["It is so", verdict, told, "accept(2)"]


def test_the_heading_counts(claims):
    for number, (verdict, here) in enumerate([("holds", True), ("holds", False), ("held then", None)]):
        claims.check(f"claim {number}", verdict, "RFC 9293", here=here, saw="seen")
    counts = "3 claims: holds 2, held then 1, never held 0, a matter of taste 0"
    assert claims.heading() == f"{counts}, contradicted here 1, not tried here 1"
    assert " ".join(repr(claims).split("\n\n")[0].split()) == claims.heading()


def test_a_claim_tried_again_keeps_its_place_and_changes_its_row(claims):
    claims.check("first", "holds", "bind(2)", here=True, saw="one")
    claims.check("second", "holds", "bind(2)", here=True, saw="two")
    claims.check("first", "holds", "bind(2)", here=False, saw="three")
    assert [row[0] for row in cells(claims)[1:]] == ["first", "second"]
    assert cells(claims)[1][2] == "✗ contradicted here: three"


@pytest.mark.parametrize("verdict", ["Holds", "true", ""])
def test_only_known_verdicts(claims, verdict):
    with pytest.raises(ValueError, match=f"is no verdict: there is {', '.join(VERDICTS)}"):
        claims.check("It is so", verdict, "accept(2)", here=True, saw="seen")
    assert not claims.rows


@pytest.mark.parametrize("source", ["", "everybody knows", "accept", "RFC"])
def test_a_claim_needs_a_source(claims, source):
    with pytest.raises(ValueError, match="names no source such as"):
        claims.check("It is so", "holds", source, here=True, saw="seen")
    assert not claims.rows


def test_sources_are_links(claims):
    claims.check("It is so", "holds", "accept(2), RFC 9293", here=True, saw="socket(7) says it, recv() does it")
    links = re.findall(r'href="([^"]*)">([^<]*)</a>', claims._repr_html_())
    assert links == [
        ("https://man7.org/linux/man-pages/man7/socket.7.html", "socket(7)"),
        ("https://man7.org/linux/man-pages/man2/accept.2.html", "accept(2)"),
        ("https://www.rfc-editor.org/rfc/rfc9293", "RFC 9293"),
    ]


def test_what_stands_in_a_row_is_no_markup(claims):
    claims.check("a < b & <b>c</b>", "holds", "accept(2)", here=True, saw="b'<x>'")
    assert cells(claims)[1] == ["a < b & <b>c</b>", "holds", "✓ b'<x>'", "accept(2)"]


def test_the_text_says_what_the_html_says(claims):
    claims.check("It is so", "holds", "accept(2)", here=True, saw=" ".join(["seen"] * 40))
    head, *rows = cells(claims)
    assert head == list(claims.columns)
    lines = repr(claims).splitlines()
    assert lines[lines.index("") + 1] == "It is so"
    assert " ".join(line.strip() for line in lines[lines.index("") + 2 :]) == " · ".join(rows[0][1:])
    assert max(map(len, lines)) <= 100


# ---------------------------------------------------------------------- errors


def test_an_error_that_comes_as_announced(errors, capsys):
    with socket.socket() as sock:
        expect(errors, "ENOTCONN", sock.getpeername)
    assert capsys.readouterr().out == "ENOTCONN, at recv(2): ✓ OSError\n"
    assert cells(errors)[1] == ["ENOTCONN", "✓ OSError", "recv(2)", "it means", "do this", "elsewhere too"]
    assert errors.heading() == "1 errors, caused on this machine; not as the table says: 0"


@pytest.mark.parametrize(
    ("name", "problem", "told"),
    [
        ("EPIPE", ConnectionResetError(errno.ECONNRESET, "gone"), "✗ ECONNRESET, ConnectionResetError"),
        ("EAGAIN, EWOULDBLOCK", BlockingIOError(errno.EAGAIN, "wait"), "✓ BlockingIOError"),
        ("EAGAIN, EWOULDBLOCK", TimeoutError("timed out"), "✗ TimeoutError, TimeoutError"),
        ("TimeoutError", TimeoutError("timed out"), "✓ TimeoutError"),
        ("TimeoutError", TimeoutError(errno.ETIMEDOUT, "gone"), "✗ ETIMEDOUT, TimeoutError"),
        ("OverflowError", OverflowError("port"), "✓ OverflowError"),
        ("TypeError", TypeError("str"), "✓ TypeError"),
        ("UnicodeDecodeError", UnicodeDecodeError("utf-8", b"", 0, 1, "cut"), "✓ UnicodeDecodeError"),
    ],
)
def test_which_error_came(errors, name, problem, told):
    expect(errors, name, raise_, problem)
    assert cells(errors)[1][:2] == [name, told]
    assert errors.heading().endswith(f": {int(told.startswith('✗'))}")


def test_no_error_is_told(errors):
    expect(errors, "EPIPE", int)
    assert cells(errors)[1][1] == "✗ no error"
    assert errors.heading().endswith(": 1")


@pytest.mark.parametrize("problem", [NameError("listener"), KeyboardInterrupt(), AttributeError("recv")])
def test_what_is_no_experiments_error_is_raised(errors, problem):
    with pytest.raises(type(problem)):
        expect(errors, "EPIPE", raise_, problem)
    assert not errors.rows


def test_errors_are_in_the_order_of_their_names(errors):
    for name, at in (("TypeError", "send()"), ("EPIPE", "send(2)"), ("EINVAL", "bind(2)"), ("EINVAL", "accept(2)")):
        expect(errors, name, int, at=at)
    rows = [(row[0], row[2]) for row in cells(errors)[1:]]
    assert rows == [("EINVAL", "accept(2)"), ("EINVAL", "bind(2)"), ("EPIPE", "send(2)"), ("TypeError", "send()")]


def test_an_error_caused_again_changes_its_row(errors):
    expect(errors, "EPIPE", int)
    expect(errors, "EPIPE", raise_, BrokenPipeError(errno.EPIPE, "gone"))
    assert [row[1] for row in cells(errors)[1:]] == ["✓ BrokenPipeError"]


@pytest.mark.parametrize(
    ("problem", "name"),
    [
        (OSError(errno.EADDRINUSE, "in use"), "EADDRINUSE"),
        (socket.gaierror(socket.EAI_NONAME, "unknown"), "EAI_NONAME"),
        (OSError("without a number"), "OSError"),
        (OSError(99_999, "with a number that nobody knows"), "OSError"),
        (ValueError("no number at all"), "ValueError"),
    ],
)
def test_names(problem, name):
    assert name_of(problem) == name


def test_windows_names_are_told_as_everywhere(monkeypatch):
    monkeypatch.setitem(errno.errorcode, 10061, "WSAECONNREFUSED")
    assert name_of(OSError(10061, "refused")) == "ECONNREFUSED"
