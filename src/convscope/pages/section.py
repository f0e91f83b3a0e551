"""Sections: what a page says of one thing, in words, tables and pictures.

Kept as files they are read again when the page is made anew, so that a report that was interrupted
goes on where it was.
"""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.collections import QuadMesh
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox
from PIL import Image

from convscope.figures.sheet import Sheet
from convscope.figures.style import Style
from convscope.outputs import finite, made_folder, write_text, written_beside
from convscope.packing import put_together
from convscope.pages.renderer import image_source, svg
from convscope.results import Result

MOST_PIXELS = 16_000
"""Of a picture's longer side: what WebP takes, or a little less."""

PAPER_WIDTH, PAPER_HEIGHT = 7.3, 9.6
"""Inches that a printed page of A4 has for a figure; see ``document.css``."""

HEADING = 0.8
"""Inches that a section's heading and sentences take above its first picture, or so."""

PHONE_WIDTH = 3.4
"""Inches of a figure that a phone shows as wide as its screen."""

EDGE = 2
"""Pixels around a picture that its frame covers."""

LOSSY_FROM = 400_000
"""Pictures that take more bytes than this without loss are written with a little."""

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """A picture of a section, in a file beside the section's own.

    Attributes:
        file: the file's name; its ending says what it is.
        alternative: what it shows, for those who do not see it.
        width, height: as shown on paper, in pixels.
        title: what stands above it.
        part: which part of a long picture it is, which paper needs.
        photographs: the file of what lies over it and keeps its colours on a dark page.
        caption: what must be known to read it, below the last part.
        more: how it was made, for those who ask.
        reading: how to read it, and what not to read into it.
        narrow: whether it stands for the others on a screen as narrow as a phone's.
        column: 1 or 2 where it takes half of the width, beside those of the other column; else 0.
    """

    file: str
    alternative: str
    width: int
    height: int
    title: str = ""
    part: str = ""
    photographs: str = ""
    caption: str = ""
    more: str = ""
    reading: str = ""
    narrow: bool = False
    column: int = 0

    @property
    def files(self) -> tuple[str, ...]:
        """The names of its files."""
        return tuple(filter(None, (self.file, self.photographs)))


@dataclass(frozen=True)
class Table:
    """A table, its cells as they are shown: the first of a row names it."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    marked: tuple[int, ...] = ()
    """Numbers of the rows that something was found in."""


@dataclass(frozen=True)
class Notice:
    """Something that a reader should know first: what and where, the evidence, severity 0..1."""

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

    name: str = ""
    title: str = ""
    sentences: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()
    findings: tuple[Notice, ...] = ()
    reading: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    whole: bool = True


Draw = Callable[[Style], Sheet]


class Shelf:
    """Finished sections and their pictures, for one subject.

    Args:
        folder: where they are kept as files, made if missing; None to keep none.
        subject: what the sections are about; those about anything else are not found.

    Attributes:
        files: the pictures' bytes, by the names of their files.
    """

    def __init__(self, folder: Path | None, subject: dict[str, Any]) -> None:
        self.folder = None if folder is None else made_folder(folder)
        self.subject = json.loads(json.dumps(subject))
        self.files: dict[str, bytes] = {}

    def find(self, name: str) -> Section | None:
        """Return a section kept as a file, if it is about the same and its pictures are there."""
        if self.folder is None:
            return None
        try:
            kept = json.loads((self.folder / f"{name}.json").read_text("utf-8"))
            if kept["subject"] != self.subject:
                return None
            found: Section = put_together(Section, kept["section"])
            files = [file for picture in found.pictures for file in picture.files]
            read = {file: (self.folder / file).read_bytes() for file in files}
        except (OSError, ValueError, KeyError, TypeError):
            return None
        self.files |= read
        return found

    def keep(self, section: Section) -> None:
        """Write a section; its pictures lie there already."""
        if self.folder is None:
            return
        kept = {"subject": self.subject, "section": finite(asdict(section))}
        text = json.dumps(kept, indent=1, allow_nan=False)
        write_text(self.folder / f"{section.name}.json", text + "\n")

    def drawn(
        self,
        found: Result | Draw,
        name: str,
        alternative: str,
        title: str = "",
        vector: bool = False,
        column: int = 0,
        reading: str = "",
    ) -> tuple[Picture, ...]:
        """Write the figure of a result, and return it for a section.

        It is drawn twice, as wide as paper, where it is cut into parts that fit pages, and as a
        phone; in a column, as a phone alone. Its photographs are apart, so that a dark page can
        turn its letters light. As a *vector* it is written as SVG, which stays sharp at any size.
        The name is that of the files; the rest is of a :class:`Picture`.
        """
        about = Picture("", alternative, 0, 0, title, column=column, reading=reading)
        notes = found.notes if isinstance(found, Result) else ()
        if column:
            wide = _sheet(found, PHONE_WIDTH)
            *parts, last = self._parts(wide, name, about, notes)
            return (*parts, _told(last, wide))
        wide, small = (_sheet(found, width) for width in (PAPER_WIDTH, PHONE_WIDTH))
        narrow = replace(about, narrow=True)
        if vector:
            parts, last = [], self._vector(wide, name, about)
            slim = self._vector(small, f"{name}-narrow", narrow)
        else:
            *parts, last = self._parts(wide, name, about, notes)
            slim = self._layers(small, layers_of(small), f"{name}-narrow", narrow)
        return (*parts, _told(last, wide), _told(slim, wide))

    def _parts(
        self, sheet: Sheet, name: str, about: Picture, notes: tuple[str, ...]
    ) -> list[Picture]:
        """Write a figure, cut into parts that fit printed pages, each of which says the notes."""
        heights, layers = _cut(sheet), layers_of(sheet)
        if len(heights) == 1:
            return [self._layers(sheet, layers, name, about)]
        found, top = [], 0.0
        for place, height in enumerate(heights, start=1):
            part = f"Part {place} of {len(heights)}"
            own = replace(
                about,
                alternative=f"{part}. {about.alternative}",
                title=about.title if place == 1 else "",
                reading=about.reading if place == len(heights) else "",
                part="; ".join((part, *notes)),
            )
            found.append(self._layers(sheet, layers, f"{name}-{place}", own, (top, top + height)))
            top += height
        return found

    def _layers(
        self, sheet: Sheet, layers: tuple[Bytes, Bytes], name: str, about: Picture,
        rows: tuple[float, float] | None = None,
    ) -> Picture:  # fmt: skip
        """Write some inches of a figure, or all of it, as WebP: its letters, its photographs."""
        across, high = sheet.figure.get_size_inches()
        top, bottom = rows or (0.0, high)
        letters, photographs = layers
        cut = slice(*(round(inches / high * len(letters)) for inches in (top, bottom)))
        files = [f"{name}.webp", ""]
        self.write(files[0], _webp(letters[cut]))
        if photographs[cut, :, 3].any():
            files[1] = f"{name}-photographs.webp"
            self.write(files[1], _webp(photographs[cut]))
        size = round(across * 96), round((bottom - top) * 96)
        return replace(about, file=files[0], photographs=files[1], width=size[0], height=size[1])

    def _vector(self, sheet: Sheet, name: str, about: Picture) -> Picture:
        width, height = (round(inches * 96) for inches in sheet.figure.get_size_inches())
        self.write(f"{name}.svg", svg(sheet))
        return replace(about, file=f"{name}.svg", width=width, height=height)

    def write(self, file: str, content: bytes) -> None:
        """Keep a picture."""
        self.files[file] = content
        if self.folder is not None:
            with written_beside(self.folder / file) as beside:
                beside.write_bytes(content)

    def source(self, file: str) -> str:
        """Return a picture as an ``img`` wants it, the file's bytes included."""
        kind = file.rpartition(".")[2]
        return image_source(self.files[file], "svg+xml" if kind == "svg" else kind)


def _told(picture: Picture, sheet: Sheet) -> Picture:
    short, rest = sheet.caption
    return replace(picture, caption=short, more=rest)


def _sheet(found: Result | Draw, width: float) -> Sheet:
    """Return a figure without its caption, which the page has as text."""
    if isinstance(found, Result):
        sheet: Sheet = found.sheet(width, "none")
        return sheet
    return found(Style(width, "none"))


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


def layers_of(sheet: Sheet) -> tuple[Bytes, Bytes]:
    """Return a figure's letters and lines, and its photographs, as [H, W, 4] each.

    Letters and lines are as transparent as their ground is white, so that they can be turned
    light; photographs, maps and their colour bars keep their colours.
    """
    most = MOST_PIXELS / max(sheet.figure.get_size_inches())
    painted = sheet.painted(min(sheet.figure.dpi, most))
    height, width = painted.shape[:2]
    inside, around = np.zeros((2, height, width), dtype=bool)
    for box in _photographs(sheet):
        top, bottom = (round((1 - y) * height) for y in (box.y1, box.y0))
        left, right = round(box.x0 * width), round(box.x1 * width)
        inside[top:bottom, left:right] = True
        around[max(0, top - EDGE) : bottom + EDGE, max(0, left - EDGE) : right + EDGE] = True
    # Channel by channel: numpy's own minimum along an axis of three is ten times slower.
    white = np.minimum(np.minimum(painted[..., 0], painted[..., 1]), painted[..., 2])
    opacity = 255 - white
    share = np.float32(255) / np.maximum(opacity, 1)
    letters, photographs = np.empty((2, height, width, 4), dtype=np.uint8)
    for channel in range(3):
        letters[..., channel] = np.rint((painted[..., channel] - white) * share)
    photographs[..., :3] = np.where(inside[..., None], painted, letters[..., :3])
    letters[..., 3] = np.where(around, 0, opacity)
    photographs[..., 3] = np.where(inside, 255, np.where(around, opacity, 0))
    return letters, photographs


def _photographs(sheet: Sheet) -> Iterator[Bbox]:
    """Yield where a figure has pictures, colour bars and a key's colours, as shares of it."""
    to_shares = sheet.figure.transSubfigure.inverted()
    for axes in sheet.figure.axes:
        whole = axes.get_window_extent()
        for image in axes.images:
            box = Bbox.intersection(image.get_window_extent(), whole)
            if box is not None:
                yield box.transformed(to_shares)
        if any(isinstance(own, QuadMesh) for own in axes.collections):
            yield whole.transformed(to_shares)
    if not any(axes.images for axes in sheet.figure.axes):
        return  # the keys of charts alone change their colours as these do
    for mark in sheet.figure.findobj(Line2D, include_self=False):
        # A mark alone stands for a colour in a picture. A line's changes as that of the line in the
        # chart; and ticks, whose markers are numbers, are in the ink of letters.
        alone = mark.axes is None and mark.get_linestyle() == "None"
        if alone and isinstance(mark.get_marker(), str):
            extent, side = mark.get_window_extent(), mark.get_markersize() * sheet.figure.dpi / 72
            left, below = (
                (low + high - side) / 2
                for low, high in ((extent.x0, extent.x1), (extent.y0, extent.y1))
            )
            yield Bbox.from_bounds(left, below, side, side).transformed(to_shares)


def _webp(picture: Bytes) -> bytes:
    file = io.BytesIO()
    shown = Image.fromarray(picture)
    shown.save(file, "webp", lossless=True, method=2)
    if len(file.getvalue()) > LOSSY_FROM:
        file = io.BytesIO()
        shown.save(file, "webp", quality=88, method=3)
    return file.getvalue()
