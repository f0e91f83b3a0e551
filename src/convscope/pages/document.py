"""A document: sections as one page of HTML that holds its pictures itself, and prints well."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convscope.outputs import finite, write_text
from convscope.pages.renderer import render
from convscope.pages.section import Notice, Picture, Section, Shelf
from convscope.results import provenance

PAGE, NUMBERS = "index.html", "numbers.json"


@dataclass(frozen=True)
class Document:
    """What a page is made of.

    Attributes:
        title: its title.
        lead: what it is about, in a sentence or two.
        facts: pairs of a name and a value, shown in a row.
        notes: warnings, such as ``"random weights"``.
        sections: its sections, in order.
        missing: what is not there, and why.
        healthy: what to say where nothing was found; empty to say nothing.
    """

    title: str
    lead: str
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    sections: Sequence[Section]
    missing: tuple[str, ...] = ()
    healthy: str = ""

    @property
    def findings(self) -> list[Notice]:
        """What the sections found, the worst first, without what an earlier one found already."""
        found: list[Notice] = []
        for section in self.sections:
            told = {one.title for one in found}
            found += [one for one in section.findings if one.title not in told]
        return sorted(found, key=lambda one: -one.severity)

    def caption(self, picture: Picture) -> str:
        """Return a picture's caption but for the notes that the page says once, at its head."""
        text = picture.caption
        # Of two networks the page says whose it is, and a picture of one of them does not.
        for note in (own for both in self.notes for own in (both, both.partition(": ")[2])):
            text = text.removeprefix(f"{note}; ").removeprefix(f"{note}. ")
        return text

    def numbers(self) -> dict[str, Any]:
        """Return what was found, what is missing, and the sections' numbers, fit for JSON."""
        return {
            "findings": [f"{finding.title}: {finding.text}" for finding in self.findings],
            "missing": self.missing,
            "sections": {
                s.name: {"seconds": s.seconds, "whole": s.whole, **s.numbers} for s in self.sections
            },
            "made_with": provenance(),
        }

    def page(self, shelf: Shelf) -> str:
        """Return the page as HTML."""
        return render(
            "document.html",
            document=self,
            title=self.title,
            sources={
                file: shelf.source(file)
                for section in self.sections
                for picture in section.pictures
                for file in picture.files
            },
            numbers_file=NUMBERS,
        )

    def write(self, shelf: Shelf, out: Path, about: dict[str, Any]) -> Path:
        """Write the page and, beside it, its numbers; return the page."""
        write_text(out / PAGE, self.page(shelf))
        numbers = finite({**self.numbers(), **about})
        write_text(out / NUMBERS, json.dumps(numbers, indent=1, allow_nan=False) + "\n")
        return out / PAGE
