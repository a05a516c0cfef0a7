# SPDX-License-Identifier: Apache-2.0
"""Clean English prose out of Debian's documentation packages.

    apt-get update
    python models/demo/corpus.py --work /tmp/demo-train

downloads and unpacks the packages below, cuts them into short passages (a few consecutive paragraphs of one
section of one page each) and leaves passages.jsonl and the held-out text, heldout.txt, in the work folder.
Pages, not passages, are held out. Neither file is kept with the project: the text is its authors'.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import re
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

log = logging.getLogger(__name__)

# Package -> the pages of it that hold English prose, under the unpacked root.
PACKAGES = {
    "apache2-doc": ["usr/share/doc/apache2-doc/manual/en/**/*.html"],
    "aptitude-doc-en": ["usr/share/doc/aptitude/html/en/**/*.html"],
    "bind9-doc": ["usr/share/doc/bind9-doc/arm/**/*.html"],
    "debian-faq": ["usr/share/doc/debian/FAQ/*.en.html"],
    "debian-handbook": ["usr/share/doc/debian-handbook/html/en-US/**/*.html"],
    "debian-policy": ["usr/share/doc/debian-policy/policy.html/*.html"],
    "debian-reference-en": ["usr/share/debian-reference/*.en.html"],
    "debmake-doc": ["usr/share/doc/debmake-doc/html/*.en.html"],
    "developers-reference": ["usr/share/developers-reference/*.html"],
    "docutils-doc": ["usr/share/doc/docutils-doc/docs/**/*.html"],
    "endless-sky-data": ["usr/share/games/endless-sky/data/**/*.txt"],
    "evolution-common": ["usr/share/help/C/evolution/*.page"],
    "exim4-doc-html": ["usr/share/doc/exim4-doc-html/spec_html/*.html"],
    "gimp-help-en": ["usr/share/gimp/2.0/help/en/*.html"],
    "git-doc": ["usr/share/doc/git-doc/**/*.html"],
    "gnome-devel-docs": [
        f"usr/share/help/C/{guide}/*.page"
        for guide in (
            "accessibility-devel-guide",
            "hig",
            "optimization-guide",
            "platform-overview",
            "programming-guidelines",
        )
    ],
    "gnome-user-docs": ["usr/share/help/C/gnome-help/*.page", "usr/share/help/C/system-admin-guide/*.page"],
    "gnu-standards": ["usr/share/doc/gnu-standards/*.html"],
    "harden-doc": ["usr/share/doc/harden-doc/html/en-US/**/*.html"],
    "installation-guide-amd64": ["usr/share/doc/installation-guide-amd64/en/*.html"],
    "kicad-doc-en": ["usr/share/doc/kicad/help/en/*.html"],
    "libreoffice-help-en-us": ["usr/share/libreoffice/help/en-US/text/**/*.html"],
    "linux-doc-6.1": ["usr/share/doc/linux-doc-6.1/html/**/*.html"],
    "maint-guide": ["usr/share/doc/maint-guide/html/*.en.html"],
    "perl-doc": ["usr/share/perl/5.36.0/pod/*.pod"],
    "postgis-doc": ["usr/share/doc/postgis-doc/*.html"],
    "postgresql-doc-15": ["usr/share/doc/postgresql-doc-15/html/*.html"],
    "python-django-doc": ["usr/share/doc/python-django-doc/html/**/*.html"],
    "python-pandas-doc": ["usr/share/doc/python-pandas-doc/html/**/*.html"],
    "python-sklearn-doc": ["usr/share/doc/python-sklearn-doc/html/**/*.html"],
    "python3.11-doc": ["usr/share/doc/python3.11/html/**/*.html"],
    "r-doc-html": ["usr/share/R/doc/manual/*.html"],
    "sphinx-doc": ["usr/share/doc/sphinx-doc/html/**/*.html"],
    "sqlite3-doc": ["usr/share/doc/sqlite3/**/*.html"],
}
SKIP_PAGE = re.compile(
    r"_sources|_modules|_static|genindex|search|copyright|licen[cs]e|translations|changelog|management-style"
)

ASCII = str.maketrans(
    {
        "\u2018": "'",
        "\u2019": "'",
        "\u201c": '"',
        "\u201d": '"',
        "\u2011": "-",
        "\u2013": "-",
        "\u2014": "-",
        "\u00a0": " ",
        "\u00b6": "",  # the link that Sphinx sets behind a heading
        "\u200b": "",
    }
)
BOILERPLATE = re.compile(
    r"https?:|www\.|\S@\S|copyright|licen[cs]e|warrant(y|ies)|all rights|trademark|click here|"
    r"\b(bug|issue|ticket|CVE-)\s?#?\d|\(\d\)|::|->|\.\.\.|\[\d+\]|[<>{}|\\^~`]",
    re.IGNORECASE,
)
# A small model learns sentences, not names of functions: drop what is mostly about identifiers.
IDENTIFIER = re.compile(
    r"[_=*%#@+]|--|\(\)|\w\.\w\w|[Cc]hanged in version|[Nn]ew in version|[Dd]eprecated since"
)
SHOUTED = re.compile(r"\b(\w*[a-z][A-Z]\w*|[A-Z]{6,})\b")
PLAIN_WORD = re.compile(r"[\"(]?[A-Za-z][a-z]*(['-][A-Za-z]?[a-z]+)*[\"),.;:!?]*")
COMMON_WORDS = (
    "the a an of to in is are be and or that this it for with on as by if you can not from at will which "
    "have has was when your all any but then there so one more they i he she we my his her"
)
COMMON = frozenset(COMMON_WORDS.split())
PASSAGE_CHARS = 1100  # about 270 tokens: a prompt and its continuation fit well inside 512 positions


class Passage(NamedTuple):
    """A few paragraphs, one a line, and the page they came from."""

    page: str
    package: str
    text: str


class Paragraphs(HTMLParser):
    """The text of every <p> outside code and tables; None marks a heading, where a section ends."""

    DROP = frozenset({"pre", "table", "script", "style", "nav", "footer", "header", "head", "info", "figure"})
    BREAK = frozenset({"h1", "h2", "h3", "h4", "h5", "title", "section"})

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str | None] = []
        self.dropping = 0
        self.text: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open a paragraph, a stretch to leave out, or a new section."""
        if tag in self.DROP:
            self.dropping += 1
        elif tag in self.BREAK:
            self.found.append(None)
        elif tag == "p" or (tag == "div" and ("class", "para") in attrs):  # Publican's paragraphs are divs
            self.close_paragraph()
            self.text = []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An empty element opens nothing."""

    def handle_endtag(self, tag: str) -> None:
        """Close what the tag opened; pages that never write </p> close it with its parent."""
        if tag in self.DROP:
            self.dropping = max(0, self.dropping - 1)
        elif tag in ("p", "div", "li", "dd"):
            self.close_paragraph()

    def handle_data(self, data: str) -> None:
        """Text counts only inside a paragraph."""
        if self.text is not None and not self.dropping:
            self.text.append(data)

    def close_paragraph(self) -> None:
        """Keep the paragraph that was open, if one was."""
        if self.text is not None:
            self.found.append("".join(self.text))
        self.text = None


def html_paragraphs(source: str) -> list[str | None]:
    """Read HTML, and Mallard too, whose <p> and <title> mean the same."""
    parser = Paragraphs()
    parser.feed(source)
    parser.close_paragraph()
    return parser.found


def pod_paragraphs(source: str) -> list[str | None]:
    """Perl's POD: blank-line blocks; indented ones are code, those that start with = are commands."""
    found: list[str | None] = []
    for block in re.split(r"\n\s*\n", source):
        if block.startswith("=head"):
            found.append(None)
        elif not block.startswith(("=", " ", "\t")):
            linked = re.sub(r"L<([^|<>]*)\|[^<>]*>", r"\1", block)
            inner = re.sub(r"[BCFIS]<([^<>]*)>", r"\1", linked)
            found.append(re.sub(r"[BCEFILSX]<([^<>]*)>", r"\1", inner))
    return found


def story_paragraphs(source: str) -> list[str | None]:
    """Endless Sky's data: prose stands between backticks; an unindented word opens a new story."""
    found: list[str | None] = []
    for line in source.splitlines():
        if line[:1].isalpha() or "choice" in line:
            found.append(None)
        elif (quoted := re.search(r"`(.*)`", line)) is not None:
            found.append(quoted[1])
    return found


READERS = {
    ".html": html_paragraphs,
    ".page": html_paragraphs,
    ".pod": pod_paragraphs,
    ".txt": story_paragraphs,
}


def is_prose(text: str) -> bool:
    """Full, plain English sentences: nothing cut off, no markup, few identifiers, enough small words."""
    if not 50 <= len(text) <= 1800 or not text.isascii() or not re.match(r"[\"(]?[A-Z]", text):
        return False
    if not re.search(r"[.!?][\")]?$", text) or BOILERPLATE.search(text) or IDENTIFIER.search(text):
        return False
    words = text.split()
    plain = sum(PLAIN_WORD.fullmatch(word) is not None for word in words)
    common = sum(word.lower().strip(",.;:") in COMMON for word in words)
    if len(words) < 8 or len(SHOUTED.findall(text)) > len(words) / 20:
        return False
    return plain >= 0.9 * len(words) and common >= 0.28 * len(words)


def cleaned(text: str) -> str:
    """One line of ASCII quotes, dashes and single blanks."""
    flat = " ".join(text.translate(ASCII).split())
    return re.sub(r"\s+([,.;:])(?=\s|$)", r"\1", flat)


def fetch(folder: Path) -> Path:
    """Download and unpack the packages; nothing is installed, so no root is needed."""
    root, debs = folder / "root", folder / "debs"
    debs.mkdir(parents=True, exist_ok=True)
    missing = [name for name in PACKAGES if not any(debs.glob(f"{name}_*.deb"))]
    if missing:
        subprocess.run(["apt-get", "download", *missing], cwd=debs, check=True)
    for name in PACKAGES:
        (deb,) = debs.glob(f"{name}_*.deb")
        if not (root / ".unpacked" / deb.name).exists():
            subprocess.run(["dpkg", "-x", deb, root], check=True)
            (root / ".unpacked").mkdir(exist_ok=True)
            (root / ".unpacked" / deb.name).touch()
    return root


def pages(root: Path, package: str) -> Iterator[Path]:
    """List the pages of a package that hold prose."""
    for pattern in PACKAGES[package]:
        for path in sorted(root.glob(pattern)):
            if path.is_file() and not SKIP_PAGE.search(str(path.relative_to(root))):
                yield path


def sections(paragraphs: list[str | None], seen: set[bytes]) -> Iterator[list[str]]:
    """The prose paragraphs between two headings, each paragraph only the first time it is met."""
    section: list[str] = []
    for raw in [*paragraphs, None]:
        if raw is None:
            if section:
                yield section
            section = []
            continue
        text = cleaned(raw)
        key = hashlib.sha1(re.sub(r"[\W\d]+", "", text.lower()).encode()).digest()
        if is_prose(text) and key not in seen:
            seen.add(key)
            section.append(text)


def grouped(section: list[str]) -> Iterator[str]:
    """Cut a long section into passages at paragraph ends."""
    passage = ""
    for text in section:
        if passage and len(passage) + len(text) > PASSAGE_CHARS:
            yield passage
            passage = ""
        passage = f"{passage}\n{text}" if passage else text
    if passage:
        yield passage


def passages(folder: Path) -> list[Passage]:
    """Read every page of every package, in one fixed order."""
    root = fetch(folder)
    seen: set[bytes] = set()
    found: list[Passage] = []
    for package in PACKAGES:
        start = len(found)
        for path in pages(root, package):
            source = path.read_text(encoding="utf-8", errors="replace")
            page = str(path.relative_to(root))
            for section in sections(READERS[path.suffix](source), seen):
                found += [Passage(page, package, text) for text in grouped(section)]
        size = sum(len(passage.text) for passage in found[start:])
        log.info("%-26s %6d passages %10d bytes", package, len(found) - start, size)
    return found


def is_held_out(page: str) -> bool:
    """About one page in a hundred, chosen by its name, so that the split never moves."""
    return hashlib.sha1(page.encode()).digest()[0] < 2


def read_corpus(work: Path) -> tuple[list[Passage], list[str]]:
    """Passages to train on and texts held out; from the work folder where an earlier run left them."""
    kept = work / "passages.jsonl"
    if not kept.exists():
        found = passages(work)
        kept.write_text("".join(json.dumps(passage) + "\n" for passage in found), encoding="utf-8")
    corpus = [Passage(*json.loads(line)) for line in kept.read_text(encoding="utf-8").splitlines()]
    held_out = [passage.text for passage in corpus if is_held_out(passage.page)]
    (work / "heldout.txt").write_text("\n".join(held_out) + "\n", encoding="utf-8")
    training = [passage for passage in corpus if not is_held_out(passage.page)]
    log.info("%d passages to train on, %d held out", len(training), len(held_out))
    return training, held_out


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description="Make the demo model's corpus.")
    parser.add_argument("--work", type=Path, required=True, help="folder for packages and texts")
    read_corpus(parser.parse_args().work)
