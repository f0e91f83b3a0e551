"""Sections: what a page says of one thing, in words, tables and pictures.

Kept as files they are read again when the page is made anew, so that a report that was interrupted
goes on where it was.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from PIL import Image

from convscope.errors import OutputError
from convscope.figures.sheet import Sheet
from convscope.outputs import finite, written_beside
from convscope.packing import put_together
from convscope.pages.renderer import image_source

DOTS_AN_INCH = 144
"""Enough for print and for screens with small pixels."""

PAPER_WIDTH, PAPER_HEIGHT = 7.3, 9.6
"""Inches that a printed page of A4 has for a figure; see ``document.css``."""

HEADING = 0.8
"""Inches that a section's heading and sentences take above its first picture, or so."""

LOSSY_FROM = 400_000
"""Pictures that take more bytes than this without loss are written with a little."""


@dataclass(frozen=True)
class Picture:
    """A picture of a section, in a file beside the section's own.

    Attributes:
        file: the file's name; its ending says what it is.
        alternative: what it shows, for those who do not see it.
        width, height: as shown, in pixels.
        title: what stands above it.

    """

    file: str
    alternative: str
    width: int
    height: int
    title: str = ""


@dataclass(frozen=True)
class Table:
    """A table: the first cell of a row names it.

    Attributes:
        caption: what it is.
        head: one a column.
        rows: of cells, as they are shown.
        marked: numbers of the rows that something was found in.

    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    marked: tuple[int, ...] = ()


@dataclass(frozen=True)
class Finding:
    """Something that a reader should know first.

    Attributes:
        title: what and where.
        text: the evidence, and what to do.
        severity: 0..1.

    """

    title: str
    text: str
    severity: float


@dataclass(frozen=True)
class Section:
    """One section of a page.

    Attributes:
        name: what it is called in links and files.
        title: what it is called on the page.
        sentences: what it says, a paragraph each.
        pictures: its pictures.
        tables: its tables.
        findings: what a reader should know first.
        reading: how to read it, and what not to read into it.
        numbers: everything that was measured, fit for JSON.
        seconds: how long it took.
        whole: whether it is all that was asked for; if not, a later run makes it again.

    """

    name: str
    title: str
    sentences: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()
    findings: tuple[Finding, ...] = ()
    reading: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    whole: bool = True


class Shelf:
    """Finished sections and their pictures, for one subject.

    Args:
        folder: where they are kept as files, made if missing; None to keep none.
        subject: what the sections are about; those about anything else are not found.

    Attributes:
        files: the pictures' bytes, by the names of their files.

    """

    def __init__(self, folder: Path | None, subject: dict[str, Any]) -> None:
        self.folder, self.subject = folder, json.loads(json.dumps(subject))
        self.files: dict[str, bytes] = {}
        try:
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make the folder {folder}: {error.strerror}") from error

    def find(self, name: str) -> Section | None:
        """Return a section kept as a file, if it is about the same and its pictures are there."""
        if self.folder is None:
            return None
        try:
            kept = json.loads((self.folder / f"{name}.json").read_text("utf-8"))
            if kept["subject"] != self.subject:
                return None
            found: Section = put_together(Section, kept["section"])
            read = {one.file: (self.folder / one.file).read_bytes() for one in found.pictures}
        except (OSError, ValueError, KeyError, TypeError):
            return None
        self.files |= read
        return found

    def keep(self, section: Section) -> None:
        """Write a section; its pictures lie there already."""
        if self.folder is None:
            return
        kept = {"subject": self.subject, "section": finite(asdict(section))}
        with written_beside(self.folder / f"{section.name}.json") as beside:
            beside.write_text(json.dumps(kept, indent=1, allow_nan=False) + "\n", "utf-8")

    def drawn(self, sheet: Sheet, name: str, alternative: str, title: str = "") -> Picture:
        """Write a figure, as WebP, and return it for a section."""
        width, height = (round(inches * 96) for inches in sheet.figure.get_size_inches())
        content = _webp(_rendered(sheet))
        return self.picture(content, name, "webp", alternative, (width, height), title)

    def parts(
        self, sheet: Sheet, name: str, alternative: str, notes: tuple[str, ...] = ()
    ) -> tuple[Picture, ...]:
        """Write a figure, cut into parts that fit printed pages, and return them for a section.

        Args:
            sheet: the figure.
            name: the files'.
            alternative: what the whole figure shows.
            notes: what every part must say, as the caption is below the last.

        """
        heights = _cut(sheet)
        if len(heights) == 1:
            return (self.drawn(sheet, name, alternative),)
        whole = _rendered(sheet)
        across, high = sheet.figure.get_size_inches()
        found, top = [], 0.0
        for place, height in enumerate(heights, start=1):
            rows = (round(inches / high * whole.height) for inches in (top, top + height))
            piece = whole.crop((0, next(rows), whole.width, next(rows)))
            part = f"Part {place} of {len(heights)}"
            if place < len(heights):
                part += "; the caption is below the last"
            found.append(
                self.picture(
                    _webp(piece), f"{name}-{place}", "webp", f"{part}. {alternative}",
                    (round(across * 96), round(height * 96)), "; ".join((part, *notes)),
                )
            )  # fmt: skip
            top += height
        return tuple(found)

    def vector(self, sheet: Sheet, name: str, alternative: str, title: str = "") -> Picture:
        """Write a figure as SVG, which stays sharp at any size, and return it for a section."""
        width, height = (round(inches * 96) for inches in sheet.figure.get_size_inches())
        content = io.BytesIO()
        # Without a date, and with fixed names inside, the same figure gives the same file.
        with rc_context({"svg.hashsalt": "convscope"}):
            sheet.figure.savefig(content, format="svg", metadata={"Date": None})
        return self.picture(content.getvalue(), name, "svg", alternative, (width, height), title)

    def picture(
        self, content: bytes, name: str, kind: str, alternative: str, size: tuple[int, int],
        title: str = "",
    ) -> Picture:  # fmt: skip
        """Keep a picture, and return it for a section."""
        file = f"{name}.{kind}"
        self.files[file] = content
        if self.folder is not None:
            with written_beside(self.folder / file) as beside:
                beside.write_bytes(content)
        return Picture(file, alternative, *size, title)

    def source(self, picture: Picture) -> str:
        """Return a picture as an ``img`` wants it, the file's bytes included."""
        kind = picture.file.rpartition(".")[2]
        return image_source(self.files[picture.file], "svg+xml" if kind == "svg" else kind)


def _cut(sheet: Sheet) -> list[float]:
    """Return how high the parts are into which a figure is cut for paper, in inches."""
    across, whole = sheet.figure.get_size_inches()
    larger = max(1.0, across / PAPER_WIDTH)
    most = (PAPER_HEIGHT - HEADING) * larger
    heights, top = [], 0.0
    while whole - top > most:
        fitting = [cut for cut in sheet.cuts if top < cut <= top + most]
        later = [cut for cut in sheet.cuts if cut > top + most]
        if not fitting and not later:
            break
        end = fitting[-1] if fitting else later[0]
        heights.append(end - top)
        top, most = end, PAPER_HEIGHT * larger
    return [*heights, whole - top]


def _rendered(sheet: Sheet) -> Image.Image:
    content = io.BytesIO()
    # A matplotlib figure's size in pixels is bounded by the renderer, and WebP's by its format.
    most = 16_000 / max(sheet.figure.get_size_inches())
    sheet.figure.savefig(content, format="png", dpi=min(DOTS_AN_INCH, most))
    with Image.open(content) as opened:
        return opened.convert("RGB")


def _webp(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "webp", lossless=True, method=2)
    if len(file.getvalue()) > LOSSY_FROM:
        file = io.BytesIO()
        picture.save(file, "webp", quality=88, method=3)
    return file.getvalue()
