# SPDX-License-Identifier: Apache-2.0
"""Blanks GPU code that one kind of GPU never loads, so that libraries of kernels compress to a fraction.

nvcc puts a fat binary into a library: a header, then an element for each architecture it was compiled for,
machine code (ELF) or PTX. The driver takes one of them and never reads the others, so these may be zeros:
lengths and headers stay, and no offset changes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAGIC = struct.pack("<I", 0xBA55ED50)
HEADER = struct.Struct("<IHHQ")  # magic, version, bytes of this header, bytes of the elements
ELEMENT = struct.Struct("<HHIQ")  # kind, version, bytes of this header, bytes of its payload
ARCHITECTURE_AT = 28  # in an element's header: 90 for compute capability 9.0
PTX, ELF = 1, 2
KINDS = (1, 2, 4, 8, 16)
MAX_HEADER = 4096


@dataclass(frozen=True)
class Element:
    """One architecture's code. start, end: of its payload, in the file."""

    kind: int
    architecture: int
    start: int
    end: int


def blank_other_architectures(path: Path, architecture: int) -> tuple[int, int]:
    """Zero in a library what a GPU of this architecture (90: 9.0) never loads; return bytes zeroed, all."""
    content = bytearray(path.read_bytes())
    zeroed = 0
    for elements in fat_binaries(content):
        kept = _loadable(elements, architecture)
        for element in elements:
            if element not in kept:
                content[element.start : element.end] = bytes(element.end - element.start)
                zeroed += element.end - element.start
    path.write_bytes(content)
    return zeroed, len(content)


def fat_binaries(content: bytes | bytearray) -> Iterator[list[Element]]:
    """Yield the elements of each fat binary; bytes that only look like one are passed over."""
    at = content.find(MAGIC)
    while at >= 0:
        elements, end = _elements(content, at)
        if elements:
            yield elements
        at = content.find(MAGIC, end)


def _elements(content: bytes | bytearray, at: int) -> tuple[list[Element], int]:
    """Return the elements of the fat binary at this offset and its end; none where there is none."""
    beyond = at + len(MAGIC)
    if at + HEADER.size > len(content):
        return [], beyond
    _, version, header, size = HEADER.unpack_from(content, at)
    position, end = at + header, at + header + size
    if version != 1 or header != HEADER.size or not size or end > len(content):
        return [], beyond
    found = []
    while position < end:
        if position + ARCHITECTURE_AT + 4 > end:
            return [], beyond
        kind, _, header, size = ELEMENT.unpack_from(content, position)
        start = position + header
        if kind not in KINDS or not ARCHITECTURE_AT + 4 <= header <= MAX_HEADER or start + size > end:
            return [], beyond
        (architecture,) = struct.unpack_from("<I", content, position + ARCHITECTURE_AT)
        found.append(Element(kind, architecture, start, start + size))
        position = start + size
    return found, end


def _loadable(elements: list[Element], architecture: int) -> list[Element]:
    """Return machine code of the same major version, not newer; without any, the PTX it can be made from."""
    same = range(architecture // 10 * 10, architecture + 1)
    code = [element for element in elements if element.kind == ELF and element.architecture in same]
    return code or [element for element in elements if element.kind != ELF]
