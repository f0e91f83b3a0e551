"""What a report says, and its page."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from convscope.errors import OutputError
from convscope.methods import bad_images
from convscope.outputs import claim_folder
from convscope.pages.document import NUMBERS, Document
from convscope.pages.section import Section, Shelf
from convscope.results import Result
from convscope.wording import counted, quoted, times

FEW = 50
"""Images below which a diagnosis that finds nothing says little."""
MOST_SHOWN = 10
PARTS = "parts"
SAME = ("network", "input_shape", "weights", "data", "titles")
"""What a report shares with one that may be written over it."""


@dataclass(frozen=True, eq=False, repr=False)
class Report(Result):
    """All that convscope can say of a network; saved to a folder it is a page.

    Attributes:
        network: the network's name.
        input_shape: channels, height and width.
        layers: how many there are.
        parameters: learned values.
        multiply_adds: an image.
        data: what the images are called.
        images: how many were looked at, or there are where none was diagnosed.
        titles: what the pictures that were looked at closely are called.
        sections: its sections.
        files: uint8, the bytes of the sections' pictures by the names of their files.
        missing: what is not there, and why.
        weights: a hash of the network's weights.
    """

    network: str
    input_shape: tuple[int, int, int]
    layers: int
    parameters: int
    multiply_adds: int
    data: str
    images: int
    titles: tuple[str, ...]
    sections: tuple[Section, ...]
    files: dict[str, Tensor]
    missing: tuple[str, ...]
    weights: str = ""

    folder: ClassVar[str] = "report"
    writer: ClassVar[str] = "convscope.pages.report_result:write_report"

    @property
    def bad(self) -> dict[str, str]:
        """The images that the diagnosis left out, with why."""
        kept = (one.numbers.get("bad") for one in self.sections if one.name == "diagnosis")
        return next(kept, None) or {}

    def to_dict(self, **options: Any) -> dict[str, Any]:
        """Return all but the pictures: what was found, what is missing, the sections' numbers."""
        own = {"missing": self.missing, "bad": self.bad, "made_with": self.made_with}
        return {**self.facts(), **document(self).numbers(), **own}

    def table(self) -> list[dict[str, Any]]:
        """Return a row a finding, the worst first."""
        return [
            {"finding": one.title, "text": one.text, "severity": one.severity}
            for one in document(self).findings
        ]

    def summary(self) -> str:
        """Return what was found, the worst first, and what is missing."""
        page = document(self)
        found = page.findings
        lines = [
            f"{self.network} over {counted(self.images, 'image')} of {self.data}: "
            f"{counted(len(self.sections), 'section')}"
        ]
        if self.partial:
            lines.append(f"partial: {self.partial}")
        lines += [f"  {one.title}: {one.text}" for one in found[:MOST_SHOWN]]
        if len(found) > MOST_SHOWN:
            lines.append(f"  and {len(found) - MOST_SHOWN} more on the page")
        if not found and page.healthy:
            lines.append(f"  {page.healthy}")
        lines += [f"  missing: {sentence}" for sentence in self.missing]
        return "\n".join([*lines, *bad_images.told(self.bad.items())])

    def _repr_html_(self) -> str:
        """Return the page for a notebook, in a frame, so that it keeps its own style."""
        page = document(self)
        return (
            f'<iframe title="{escape(page.title)}" style="width: 100%; height: 40em; border: 0" '
            f'srcdoc="{escape(page.page(_shelf(self)))}"></iframe>'
        )


def document(found: Report) -> Document:
    """Return the contents of a report's page."""
    facts = [
        ("Input", times(found.input_shape)),
        ("Layers", str(found.layers)),
        ("Parameters", f"{found.parameters:,}"),
        ("Multiply-adds", f"{found.multiply_adds:,}"),
    ]
    healthy = ""
    for numbers in (one.numbers for one in found.sections if one.name == "diagnosis"):
        facts.append(("Images", f"{numbers['images']:,}"))
        if numbers["accuracy"] is not None:
            facts.append(("Right answers", f"{numbers['accuracy']:.1%}"))
        healthy = (
            f"Nothing is wrong with any layer, by the thresholds of the diagnosis, on "
            f"{counted(numbers['images'], 'image')}."
        )
        if numbers["images"] < FEW:
            healthy += " So few images do not show much: give it more."
    return Document(
        title=f"{found.network}: what it is, and what it sees",
        lead=f"A report on {found.network}. Images: {quoted(found.data)}. Looked at closely: "
        f"{', '.join(found.titles)}.",
        facts=tuple(facts),
        notes=found.notes,
        sections=found.sections,
        missing=(*found.missing, *bad_images.sentences(found.bad)),
        healthy=healthy,
    )


def write_report(found: Report, folder: str | os.PathLike[str]) -> Path:
    """Write a report's page, which holds its pictures itself, and ``numbers.json``; return it."""
    check_same(folder, {name: getattr(found, name) for name in SAME})
    out = claim_folder(folder, found.folder)
    return document(found).write(_shelf(found), out, found.to_dict())


def check_same(folder: str | os.PathLike[str], own: dict[str, Any]) -> None:
    """Refuse a folder that holds a report of another network or other pictures than *own* says."""
    for file in (Path(folder, NUMBERS), *Path(folder, PARTS).glob("*.json")):
        try:
            kept = json.loads(file.read_text("utf-8"))
            kept = kept.get("subject", kept)
        except (OSError, ValueError, AttributeError):
            continue
        given = json.loads(json.dumps({name: own[name] for name in SAME}))
        if any(name in kept and kept[name] != given[name] for name in SAME):
            raise OutputError(
                f"{folder} holds a report of another network or of other pictures: name a new or "
                f"empty folder"
            )


def _shelf(found: Report) -> Shelf:
    shelf = Shelf(None, {})
    shelf.files = {name: file.numpy().tobytes() for name, file in found.files.items()}
    return shelf


def as_tensors(files: dict[str, bytes]) -> dict[str, Tensor]:
    """Return the bytes of files as uint8 tensors."""
    return {
        name: torch.frombuffer(bytearray(content), dtype=torch.uint8)
        for name, content in files.items()
    }
