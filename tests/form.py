"""The form of a lesson: each rule is a function of a lesson that yields what is wrong with it, a sentence each."""

from __future__ import annotations

import ast
import builtins
import io
import re
import statistics
import symtable
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property, wraps
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

from nbformat import NotebookNode
from nbformat.v4 import reads

from tools.notebooks import (
    MARK,
    METADATA,
    WIDGET_VIEW,
    code_cells,
    is_appendix,
    navigation,
    options,
    text_of,
    texts,
    traces,
)
from tools.refresh import looks_random

Rule = Callable[["Lesson"], Iterator[str]]
RULES: list[Rule] = []

OBJECTIVES, EXERCISES, RECAP = "What you will be able to do", "Exercises", "Recap"
MISUNDERSTANDINGS, READING = "Misunderstandings", "Further reading"
LINKS_MAY_LEAD_TO = {"www.rfc-editor.org", "man7.org", "docs.python.org"}
NO_VERBS = re.compile(r"(an?|the|this|these|how|what|why|wh\w+|your?|it|to|in|of|on|and|or|not|.*(ing|tion|ness|ly)|)$")


@dataclass(frozen=True)
class Size:
    """How big a lesson may be: (least, most) of each; predictions and the navigation do not count as cells."""

    cells: tuple[int, int] = (30, 52)
    code: tuple[int, int] = (12, 28)
    words: tuple[int, int] = (900, 1400)
    predictions: int = 4
    lines: int = 4  #: the median of a code cell, at most


SIZE, SIZE_OF_00 = Size(), Size((12, 36), (5, 16), (500, 1100), 1)
SIZE_OF_APPENDIX = Size((20, 100), (8, 50), (500, 2600), 0, 9)  # each experiment ends with what it is to show
LINES_MOST = 20  # of a code cell
WORDS_OF_PROSE, WORDS_OF_LIST = 80, 120  # in a markdown cell; code in it is not counted


@dataclass(frozen=True)
class Lesson:
    """A notebook, and what the rules ask of it."""

    path: Path
    text: str

    @classmethod
    def read(cls, path: Path) -> Lesson:
        return cls(path, path.read_text(encoding="utf-8"))

    @cached_property
    def notebook(self) -> NotebookNode:
        return reads(self.text)

    @cached_property
    def code(self) -> list[NotebookNode]:
        return code_cells(self.notebook)

    @cached_property
    def markdown(self) -> list[NotebookNode]:
        return [cell for cell in self.notebook.cells if cell.cell_type == "markdown"]

    @property
    def is_first(self) -> bool:
        """Is it lesson 00, which is short and has no need of exercises?"""
        return self.path.name.startswith("00_")

    @property
    def is_appendix(self) -> bool:
        """Is it one to look things up in, which teaches nothing new and asks nothing?"""
        return is_appendix(self.path)

    @property
    def size(self) -> Size:
        return SIZE_OF_00 if self.is_first else SIZE_OF_APPENDIX if self.is_appendix else SIZE

    @cached_property
    def headings(self) -> list[tuple[int, str]]:
        """Level and text of each heading, in order."""
        lines = (line for cell in self.markdown for line in prose(cell.source).splitlines())
        found = (re.match(r"(#{1,6})\s+(.*?)\s*#*$", line) for line in lines)
        return [(len(match[1]), match[2]) for match in found if match]

    @cached_property
    def sections(self) -> dict[str, str]:
        """The prose under each heading of the second level."""
        whole = "\n\n".join(prose(cell.source) for cell in self.markdown)
        parts = re.split(r"^##[ \t]+(.*?)[ \t]*$", whole, flags=re.M)
        return dict(zip(parts[1::2], parts[2::2], strict=True))

    def items(self, section: str) -> list[str]:
        """The items of a section's list, those at its left edge."""
        return re.findall(r"^(?:[-*+]|\d+[.)])\s+(.*)$", self.sections.get(section, ""), flags=re.M)

    @cached_property
    def roles(self) -> set[str]:
        """The roles of its stage."""
        for cell in self.code:
            if match := re.search(r"\bStage\(([^)]*)\)", cell.source):
                return set(re.findall(r"[\"'](\w+)[\"']", match[1]))
        return set()

    def role_of(self, cell: NotebookNode) -> tuple[str, bool]:
        """Whose cell it is (nobody's: empty), and whether it is an aside."""
        match = re.match(r"%%(\w+)[ \t]*(--aside)?", cell.source)
        return (match[1], bool(match[2])) if match and match[1] in self.roles else ("", False)

    def python(self, cell: NotebookNode) -> str | None:
        """A code cell's Python, magics taken out; None if it is in another language, or not to be parsed."""
        if cell.source.startswith("%%") and not self.role_of(cell)[0]:
            return None
        source = re.sub(r"^(?:%|!).*$", "", cell.source, flags=re.M)
        try:
            ast.parse(source)
        except SyntaxError:
            return None
        return source


def rule(function: Rule) -> Rule:
    """Puts a function among the RULES."""
    RULES.append(function)
    return function


def rule_of_lessons(function: Rule) -> Rule:
    """A rule that an appendix need not keep: it has no objectives, no exercises and no recap."""

    @wraps(function)
    def kept(lesson: Lesson) -> Iterator[str]:
        return iter(()) if lesson.is_appendix else function(lesson)

    return rule(kept)


def prose(markdown: str) -> str:
    """Markdown without its blocks of code and its comments."""
    return re.sub(r"^(```|~~~).*?^\1[ \t]*$|<!--.*?-->", "", markdown, flags=re.M | re.S)


# ---------------------------------------------------------------------- the file


@rule
def file_is_as_refresh_writes_it(lesson: Lesson) -> Iterator[str]:
    if lesson.text != text_of(lesson.notebook):
        yield "the file is not laid out as `run.py refresh` writes it"


@rule
def kernel_is_python3(lesson: Lesson) -> Iterator[str]:
    if lesson.notebook.metadata != METADATA:
        yield f"the notebook's metadata is not the fixed one, with kernel python3: {dict(lesson.notebook.metadata)}"


@rule
def cells_count_from_1(lesson: Lesson) -> Iterator[str]:
    counts = [cell.execution_count for cell in lesson.code]
    if counts != [*range(1, len(counts) + 1)]:
        yield f"execution counts are not 1, 2, 3 …: {counts}"


@rule
def ids_are_readable(lesson: Lesson) -> Iterator[str]:
    ids = [cell.get("id", "") for cell in lesson.notebook.cells]
    for name in dict.fromkeys(ids):
        if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or looks_random(name):
            yield f"the cell id {name!r} is not words-joined-by-hyphens"
        if ids.count(name) > 1:
            yield f"the cell id {name!r} is there {ids.count(name)} times"


@rule
def nothing_is_hidden(lesson: Lesson) -> Iterator[str]:
    for cell in lesson.notebook.cells:
        tags = [tag for tag in cell.metadata.get("tags", []) if re.match("hide|remove", tag)]
        if tags or cell.metadata.get("jupyter") or cell.metadata.get("collapsed"):
            yield f"{cell.id}: hidden, by its metadata {dict(cell.metadata)}"


# ---------------------------------------------------------------------- headings and sections


@rule
def one_title(lesson: Lesson) -> Iterator[str]:
    titles = [text for level, text in lesson.headings if level == 1]
    if len(titles) != 1:
        yield f"{len(titles)} headings of the first level"
    if not (lesson.notebook.cells and re.match(r"# \S", lesson.notebook.cells[0].source)):
        yield "the first cell does not begin with the title"


@rule
def headings_skip_no_level(lesson: Lesson) -> Iterator[str]:
    above = 0
    for level, text in lesson.headings:
        if level > above + 1:
            yield f"the heading {text!r} skips a level"
        above = level


@rule_of_lessons
def sections_are_there_in_order(lesson: Lesson) -> Iterator[str]:
    wanted = [OBJECTIVES, *([] if lesson.is_first else [EXERCISES]), RECAP, MISUNDERSTANDINGS, READING]
    there = [text for level, text in lesson.headings if level == 2]
    for name in wanted:
        if there.count(name) != 1:
            yield f"{there.count(name)} sections are named {name!r}"
    found = [name for name in there if name in wanted]
    if sorted(found) == sorted(wanted) and (found != wanted or there[0] != OBJECTIVES or there[-1] != READING):
        yield f"the sections are not in the order {', '.join(wanted)}, the first and the last at the ends"


@rule_of_lessons
def objectives_are_verbs(lesson: Lesson) -> Iterator[str]:
    items = lesson.items(OBJECTIVES)
    if not 3 <= len(items) <= 5:
        yield f"{OBJECTIVES}: {len(items)} items, not 3 to 5"
    for item in items:
        word = (re.findall(r"[A-Za-z]+", item) or [""])[0].lower()
        if NO_VERBS.match(word):
            yield f"{OBJECTIVES}: {item!r} does not begin with a verb"
    section = lesson.sections.get(OBJECTIVES, "")
    if not re.search(r"\b\d+ minutes\b", section):
        yield f"{OBJECTIVES}: it does not say how many minutes"
    if not re.search(r"\bknow\b", section):
        yield f"{OBJECTIVES}: it does not say what one should know"


@rule_of_lessons
def recap_answers_the_objectives(lesson: Lesson) -> Iterator[str]:
    promised, kept = len(lesson.items(OBJECTIVES)), len(lesson.items(RECAP))
    if promised != kept:
        yield f"{RECAP}: {kept} items for {promised} objectives"


@rule_of_lessons
def misunderstandings_are_two_or_three(lesson: Lesson) -> Iterator[str]:
    if (count := len(lesson.items(MISUNDERSTANDINGS))) not in (2, 3):
        yield f"{MISUNDERSTANDINGS}: {count} items, not 2 or 3"
    if not lesson.items(READING):
        yield f"{READING}: no items"


@rule
def navigation_is_last(lesson: Lesson) -> Iterator[str]:
    marked = [cell for cell in lesson.notebook.cells if MARK in cell.source]
    if marked != lesson.notebook.cells[-1:] or marked[0].source != navigation(lesson.path):
        yield "the last cell, and only that, is to hold the links that `run.py refresh` makes"


# ---------------------------------------------------------------------- sizes


@rule
def size_is_a_lessons(lesson: Lesson) -> Iterator[str]:
    words = sum(len(cell.source.split()) for cell in lesson.markdown)
    asides = [c for c in lesson.notebook.cells if c.source.startswith("predict(") or MARK in c.source]
    predictions = sum(cell.cell_type == "code" for cell in asides)
    for what, count, (least, most) in (
        ("cells", len(lesson.notebook.cells) - len(asides), lesson.size.cells),
        ("code cells", len(lesson.code) - predictions, lesson.size.code),
        ("words", words, lesson.size.words),
    ):
        if not least <= count <= most:
            yield f"{count} {what}, not {least} to {most}"


@rule
def code_cells_are_short(lesson: Lesson) -> Iterator[str]:
    lines = {cell.id: sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in lesson.code}
    if lines and statistics.median(lines.values()) > lesson.size.lines:
        yield f"the median of a code cell is {statistics.median(lines.values()):g} lines, {lesson.size.lines} at most"
    for name, count in lines.items():
        if not 0 < count <= LINES_MOST:
            yield f"{name}: {count} lines of code, not 1 to {LINES_MOST}"


@rule
def markdown_cells_are_short(lesson: Lesson) -> Iterator[str]:
    for cell in lesson.markdown:
        text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", prose(cell.source))  # a picture's description is no prose
        most = WORDS_OF_LIST if re.search(r"^\s*(?:[-*+]|\d+[.)]|\|)\s", text, flags=re.M) else WORDS_OF_PROSE
        if MARK not in cell.source and len(text.split()) > most:
            yield f"{cell.id}: {len(text.split())} words, not {most} at most"


# ---------------------------------------------------------------------- pictures and links

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(\s*<?([^)\s>]+)>?(?:\s+[\"'][^)]*)?\)")


def links(cell: NotebookNode) -> Iterator[tuple[bool, str, str]]:
    """Every link of a markdown cell: is it a picture, its text, where it leads."""
    text = re.sub(r"(`+)(.+?)\1", "code", prose(cell.source))
    for picture, words, target in _LINK.findall(text):
        yield bool(picture), words, target
    text = _LINK.sub(" ", text)
    yield from ((False, "", target) for target in re.findall(r"^\[[^\]]+\]:\s*(\S+)", text, flags=re.M))
    for tag in re.findall(r"<(?:img|a)\b[^>]*>", text):
        found = {name: value for name, _, value in re.findall(r"(\w+)\s*=\s*([\"'])(.*?)\2", tag)}
        yield tag.startswith("<img"), found.get("alt", ""), found.get("src") or found.get("href", "")
    bare = re.findall(r"https?://[^\s<>()\"'\]]+", re.sub(r"<(?:img|a)\b[^>]*>|^\[[^\]]+\]:.*$", "", text, flags=re.M))
    yield from ((False, "", target) for target in bare)


def anchors(lesson: Lesson) -> set[str]:
    """What a link may have after its `#`: the headings, as JupyterLab names them."""
    return {text.replace(" ", "-") for _, text in lesson.headings}


_read = cache(Lesson.read)


@rule
def pictures_are_described(lesson: Lesson) -> Iterator[str]:
    for cell in lesson.markdown:
        for picture, words, target in links(cell):
            if picture and len(words.split()) < 3:
                yield f"{cell.id}: the picture {target} has no description (three words at least)"
        if cell.get("attachments"):
            yield f"{cell.id}: a picture is kept in the notebook, and not in the folder figures"


@rule
def links_lead_somewhere(lesson: Lesson) -> Iterator[str]:
    for cell in lesson.markdown:
        for picture, _, target in links(cell):
            parts = urlsplit(target)
            there = lesson.path.parent / unquote(parts.path)
            if parts.scheme in ("http", "https"):
                if picture or parts.hostname not in LINKS_MAY_LEAD_TO:
                    yield f"{cell.id}: {target} is not a place that lessons link to ({', '.join(LINKS_MAY_LEAD_TO)})"
            elif parts.scheme or parts.path.startswith("/"):
                yield f"{cell.id}: {target} is not a relative link"
            elif parts.path and not there.exists():
                yield f"{cell.id}: {target} is not there"
            elif parts.path and not (parts.fragment and there.suffix == ".ipynb"):
                pass
            elif unquote(parts.fragment) not in anchors(lesson if not parts.path else _read(there)):
                yield f"{cell.id}: no heading is {target}"


# ---------------------------------------------------------------------- code


@rule
def first_code_cell_sets_the_stage(lesson: Lesson) -> Iterator[str]:
    sources = [cell.source for cell in lesson.code] or [""]
    if lesson.is_appendix and not any(re.search(r"^%%(server|client)\b|\bstage\.", source) for source in sources):
        return  # it has no roles
    if not re.match(r"from helpers import [^\n]*\bStage\b", sources[0]):
        yield "the first code cell does not begin with `from helpers import …`, Stage among it"
    before = sources if lesson.is_first else sources[:1]
    if not any(re.search(r"^\w+ = Stage\(", source, flags=re.M) for source in before):
        yield "the first code cell makes no `Stage(...)`: a lesson needs one of its own"


@rule
def it_stands_alone(lesson: Lesson) -> Iterator[str]:
    rooms = "exercises|strategies|width|meters"  # that a lesson may use by name
    outside = rf"^\s*(?:%(?:run|store|load|load_ext|autoreload)\b|from helpers\.(?!{rooms})|import helpers).*"
    for cell in lesson.code:
        if match := re.search(outside, cell.source, re.M):
            yield f"{cell.id}: {match[0].strip()!r} reaches outside of the lesson"


@rule
def predictions_come_first(lesson: Lesson) -> Iterator[str]:
    count = sum(len(re.findall(r"\bpredict\(", cell.source)) for cell in lesson.code)
    if count < lesson.size.predictions:
        yield f"{count} predictions, not {lesson.size.predictions} at least"


@rule
def no_cell_sleeps(lesson: Lesson) -> Iterator[str]:
    for cell in lesson.code:
        if re.search(r"\bsleep\s*\(", cell.source):
            yield f"{cell.id}: sleep() in a cell"


@rule
def no_semicolon_ends_a_line(lesson: Lesson) -> Iterator[str]:
    for cell in lesson.code:
        tokens = tokenize.generate_tokens(io.StringIO(lesson.python(cell) or "").readline)
        kept = [token for token in tokens if token.type not in (tokenize.COMMENT, tokenize.NL)]
        for one, other in pairwise(kept):
            if one.string == ";" and other.type in (tokenize.NEWLINE, tokenize.ENDMARKER):
                yield f"{cell.id}: a line ends with a semicolon"


@dataclass
class Names:
    """What a cell's Python makes of the notebook's names, and what it reads."""

    made: set[str]
    imported: set[str]
    read: set[str]

    @classmethod
    def of(cls, source: str) -> Names:
        top = symtable.symtable(source, "cell", "exec")
        imported = {s.get_name() for s in top.get_symbols() if s.is_imported()}
        made = {s.get_name() for s in top.get_symbols() if s.is_assigned()} | imported
        read = {s.get_name() for s in top.get_symbols() if s.is_referenced()}
        inner = top.get_children()
        while inner:
            table = inner.pop()
            read |= {s.get_name() for s in table.get_symbols() if s.is_global() and s.is_referenced()}
            inner += table.get_children()
        return cls(made, imported, read - set(dir(builtins)))


@rule
def roles_share_host_and_port_only(lesson: Lesson) -> Iterator[str]:
    """As `take_home` has it: two programs share nothing but what they tell each other."""
    cells = [(cell, *lesson.role_of(cell), Names.of(source)) for cell in lesson.code if (source := lesson.python(cell))]
    shared = {"host", "port"}.union(*(names.imported for _, _, _, names in cells))
    made: dict[str, set[str]] = {role: set() for role in ("", *lesson.roles)}
    for _, role, _, names in cells:
        made[role] |= names.made - shared
    for cell, role, aside, names in cells:
        for other in (lesson.roles - {role}) if role else set():
            for name in sorted(names.made & made[other]):
                yield f"{cell.id}: it makes `{name}`, which {other} makes too"
            for name in sorted(names.read & made[other] - made[role]):
                yield f"{cell.id}: it reads {other}'s `{name}`"
        if role and not aside:
            for name in sorted(names.read & made[""] - made[role]):
                yield f"{cell.id}: it reads `{name}`, which a plain cell made: at home nobody would"


# ---------------------------------------------------------------------- outputs


@rule
def outputs_are_stored(lesson: Lesson) -> Iterator[str]:
    for cell in lesson.code:
        body = ast.parse(lesson.python(cell) or "").body
        said = [s.value for s in body if isinstance(s, ast.Expr) and isinstance(s.value, ast.Call)]
        calls = {ast.unparse(call.func).rpartition(".")[2] for call in said}
        if not cell.outputs and calls & {"print", "predict", "diagram", "sockets", "check"}:
            yield f"{cell.id}: it shows something, and no output is stored"


@rule
def outputs_hold_no_widgets(lesson: Lesson) -> Iterator[str]:
    if "widgets" in lesson.notebook.metadata:
        yield "the state of widgets is stored"
    for cell in lesson.code:
        if any(WIDGET_VIEW in output.get("data", {}) for output in cell.outputs):
            yield f"{cell.id}: a widget's view is stored"


@rule
def errors_are_announced(lesson: Lesson) -> Iterator[str]:
    for cell in lesson.code:
        raised = any(output.output_type == "error" for output in cell.outputs)
        tagged = "raises-exception" in cell.metadata.get("tags", [])
        if raised and not tagged:
            yield f"{cell.id}: it raises, and is not tagged raises-exception"
        if tagged and not raised:
            yield f"{cell.id}: it is tagged raises-exception, and raises nothing"


@rule
def uncompared_outputs_have_a_reason(lesson: Lesson) -> Iterator[str]:
    for cell in lesson.code:
        told = options(cell)
        if (told.get("skip") or told.get("check") is False) and len(str(cell.metadata.get("reason", "")).split()) < 3:
            yield f"{cell.id}: its output is not compared, and no reason stands in its metadata"


@rule
def nothing_of_one_machine_or_moment(lesson: Lesson) -> Iterator[str]:
    for cell in lesson.notebook.cells:
        for text in (cell.source, *(text for _, text in texts(cell.get("outputs", [])))):
            yield from (f"{cell.id}: {what}" for what in traces(text))


@rule
def svg_is_well_formed(lesson: Lesson) -> Iterator[str]:
    for cell in lesson.code:
        for kind, text in texts(cell.outputs):
            for picture in [text] if kind == "image/svg+xml" else re.findall(r"<svg\b.*?</svg>", text, flags=re.S):
                try:
                    ElementTree.fromstring(picture)
                except ElementTree.ParseError as problem:
                    yield f"{cell.id}: its SVG is not well-formed: {problem}"
