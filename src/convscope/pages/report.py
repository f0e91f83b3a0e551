"""A report on a network: everything convscope can say of it, as one page, within a time."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convscope import __version__
from convscope.errors import ConvscopeError, DataError, ImageError
from convscope.methods import budget as budgets
from convscope.methods.scan import weights_hash
from convscope.methods.scanning.sources import Images, checked_image, images_of
from convscope.methods.targets import picture_titles
from convscope.network import Network
from convscope.network.shield import shielded
from convscope.outputs import check_folder, claim_folder
from convscope.pages import report_sections as sections
from convscope.pages.document import NUMBERS, PAGE, Document
from convscope.pages.layer_tables import times
from convscope.pages.report_sections import Progress, Subject
from convscope.pages.section import Section, Shelf
from convscope.wording import counted

KIND, PARTS = "report", "parts"
PICTURES = 2
FEW = 50
"""Images below which a diagnosis that finds nothing says little."""
UNITS_A_SECTION = 1000


@dataclass(frozen=True)
class Task:
    """A section to make.

    Attributes:
        name: the section's.
        title: the section's.
        make: makes it, within seconds if there is a limit.
        share: of the time, beside the others'; 0 for what takes next to none.

    """

    name: str
    title: str
    make: Callable[[Subject, float | None, Progress], Section]
    share: float


TASKS = (
    Task("architecture", "Architecture", sections.architecture, 0),
    Task("diagnosis", "Diagnosis", sections.diagnosis, 8),
    Task("layers", "Layers", sections.layers, 0),
    Task("projections", "What drives the strongest channels", sections.projections, 2),
    Task("occlusion", "Where the answer hangs", sections.occlusion, 3),
    Task("checkerboard", "Checkerboard", sections.grids, 3),
    Task("invariance", "Moved, enlarged and turned", sections.invariances, 3),
    # The last, because part of it is done whatever the time.
    Task("sanity", "Do the pictures depend on the network?", sections.sanity_checks, 4),
)


@dataclass(frozen=True)
class Report:
    """A report that was written.

    Attributes:
        page: the page.
        table: the file of all numbers.
        sections: its sections.
        missing: what is not there, and why.
        interrupted: whether Ctrl-C ended the work; the same call goes on from there.

    """

    page: Path
    table: Path
    sections: tuple[Section, ...]
    missing: tuple[str, ...]
    interrupted: bool

    def to_dict(self) -> dict[str, Any]:
        """Return what there is, without the sections' own numbers."""
        return {
            "page": str(self.page),
            "numbers": str(self.table),
            "sections": {s.name: {"seconds": s.seconds, "whole": s.whole} for s in self.sections},
            "findings": [f"{f.title}: {f.text}" for s in self.sections for f in s.findings],
            "missing": self.missing,
            "interrupted": self.interrupted,
        }


@shielded
def report(
    net: Network,
    images: Any,
    out: str | Path,
    pictures: Sequence[int | Tensor] | None = None,
    *,
    names: Sequence[str] | None = None,
    budget: float | str | None = None,
    memory: int | str = budgets.DEFAULT,
    progress: Progress | None = None,
) -> Report:
    """Write all that convscope can say of a network: one page, and its numbers beside it.

    The architecture drawn, the diagnosis and its findings, the layers, and of a few pictures the
    projections, the occlusion, the grids that strides leave, what the projections depend on, and
    what moving the picture does. What is finished is kept in ``parts/``: the same call again makes
    only what is missing, or was cut short. Ctrl-C ends the work; the page then holds what is done.

    Args:
        net: the network.
        images: a folder of pictures or a data set, as for :func:`.scan`, to diagnose it on.
        out: the folder, made if missing.
        pictures: those to look at closely: numbers of images, or [1, C, H, W] in the network's
            input space; None for two of the images.
        names: what the pictures are called.
        budget: seconds in all, shared among the sections; None for no limit. One projection or
            one pass over a few images is always made, so that it may take a little longer.
        memory: bytes, or a text such as ``"2GB"``, for the maps.
        progress: called with the work done and all of it.

    Returns:
        what was written.

    Raises:
        DataError: if there is no image, or none can be read.
        OutputError: if *out* cannot be written, lies among the images, or holds other files than
            a report's.

    """
    deadline = budgets.Deadline(budget)
    out = Path(out)
    source = images_of(images, net)
    check_folder(out, KIND, getattr(source, "folder", None))
    chosen, called = _pictures(net, source, pictures, names)
    shelf = Shelf(claim_folder(out, KIND) / PARTS, _about(net, source, chosen))
    subject = Subject(
        net, source, chosen, called, shelf, memory, picture_titles(net, chosen, called)
    )
    work = _Work(subject, deadline, progress)
    work.run()
    page = work.document().write(shelf, out, work.about())
    return Report(
        page, out / NUMBERS, tuple(work.sections()), tuple(work.missing), work.interrupted
    )


def _pictures(
    net: Network,
    source: Images,
    pictures: Sequence[int | Tensor] | None,
    names: Sequence[str] | None,
) -> tuple[Tensor, tuple[str, ...]]:
    """Return the pictures to look at closely, and what they are called."""
    if pictures is None:
        return _first_readable(net, source)
    found, called = [], []
    for place, picture in enumerate(pictures):
        if isinstance(picture, Tensor):
            found.append(net.checked(picture)[0].cpu())
            called.append(f"picture {place + 1}")
        else:
            found.append(checked_image(source.load(picture)[0], net).to(net.dtype))
            called.append(source.title(picture))
    if not found:
        raise DataError("a report needs a picture to look at closely")
    return torch.stack(found), tuple(names or called)


def _first_readable(net: Network, source: Images) -> tuple[Tensor, tuple[str, ...]]:
    """Return two images that can be read, from the beginning and the middle of a set."""
    order = [0, len(source) // 2, *range(len(source))]
    found: dict[int, Tensor] = {}
    for number in order:
        if len(found) == PICTURES:
            break
        try:
            image = checked_image(source.load(number)[0], net)
        except ImageError:
            continue
        found[number] = image.to(net.dtype)
    if not found:
        raise DataError(f"no image of {source.name} can be read")
    return torch.stack(list(found.values())), tuple(map(source.title, found))


def _about(net: Network, source: Images, pictures: Tensor) -> dict[str, Any]:
    """Return what a report is about: another of these, and nothing that was kept is used."""
    digest = hashlib.sha256(pictures.detach().float().cpu().contiguous().numpy().data)
    return {
        "network": net.name,
        "input_shape": list(net.input_shape),
        "layers": list(net.layers),
        "weights": weights_hash(net),
        "images": source.fingerprint(),
        "pictures": digest.hexdigest(),
        "convscope": __version__,
    }


class _Work:
    """The sections as they are made."""

    def __init__(
        self, subject: Subject, deadline: budgets.Deadline, progress: Progress | None
    ) -> None:
        self.subject, self.deadline, self._progress = subject, deadline, progress
        self.done: dict[str, Section] = {}
        self.missing: list[str] = []
        self.interrupted = False

    def run(self) -> None:
        """Make what is not kept already, in order, until the time is spent."""
        kept = {task.name: self.subject.shelf.find(task.name) for task in TASKS}
        for place, task in enumerate(TASKS):
            self._count(place, 0, 1)
            found = kept[task.name]
            if found is not None and found.whole and task.share:
                self.done[task.name] = found
                continue
            if self.interrupted or (task.share and self._rest() == 0):
                self._leave(task, found)
                continue
            left = [t for t in TASKS[place:] if not ((own := kept[t.name]) and own.whole)]
            try:
                self._make(place, task, self._share(task, left))
            except KeyboardInterrupt:
                self.interrupted = True
                self._leave(task, found)
        self._count(len(TASKS), 0, 1)

    def _make(self, place: int, task: Task, seconds: float | None) -> None:
        began = time.monotonic()
        try:
            section = task.make(
                self.subject, seconds, lambda done, total: self._count(place, done, total)
            )
        except ConvscopeError as error:
            self.missing.append(f"{task.title}: {error}")
            return
        took = time.monotonic() - began
        section = replace(section, seconds=took)
        self.subject.shelf.keep(section)
        self.done[task.name] = section
        if not section.whole:
            self.missing.append(f"{task.title}: {self._short(section, took, seconds)}")

    def _short(self, section: Section, took: float, seconds: float | None) -> str:
        """Say why a section is not whole; Ctrl-C ends all of the work."""
        if section.numbers.get("partial") and (seconds is None or took < 0.9 * seconds):
            self.interrupted = True
            return "cut short by Ctrl-C; the same command goes on"
        return "cut short by the budget; more of it makes the rest"

    def _leave(self, task: Task, found: Section | None) -> None:
        """Note what is not made now, or use what an earlier time left of it."""
        if found is not None:
            self.done[task.name] = found
            self.missing.append(f"{task.title}: cut short an earlier time")
            return
        why = "interrupted" if self.interrupted else "the budget was spent"
        self.missing.append(f"{task.title}: {why}; the same command goes on from here")

    def _rest(self) -> float | None:
        if self.deadline.seconds is None:
            return None
        return max(0.0, self.deadline.seconds - (time.monotonic() - self.deadline.began))

    def _share(self, task: Task, left: Sequence[Task]) -> float | None:
        """Return a task's part of the time that is left."""
        rest = self._rest()
        if rest is None:
            return None
        return max(1.0, rest * task.share / (sum(own.share for own in left) or 1))

    def _count(self, place: int, done: int, total: int) -> None:
        if self._progress:
            share = min(1.0, done / max(1, total))
            self._progress(round((place + share) * UNITS_A_SECTION), len(TASKS) * UNITS_A_SECTION)

    def sections(self) -> list[Section]:
        """Return what is done, in order, without what an earlier section has found already."""
        told: set[str] = set()
        ordered = []
        for section in (self.done[task.name] for task in TASKS if task.name in self.done):
            new = tuple(found for found in section.findings if found.title not in told)
            told |= {found.title for found in new}
            ordered.append(replace(section, findings=new))
        return ordered

    def about(self) -> dict[str, Any]:
        """Return what the numbers are about."""
        net = self.subject.net
        return {
            "network": net.name,
            "input_shape": net.input_shape,
            "parameters": sum(layer.parameters for layer in net.layers.values()),
            "multiply_adds": sum(layer.multiply_adds for layer in net.layers.values()),
            "data": self.subject.images.name,
            "images": len(self.subject.images),
            "pictures": self.subject.names,
            "notes": net.notes,
        }

    def document(self) -> Document:
        """Return the page's contents."""
        net, source, about = self.subject.net, self.subject.images, self.about()
        facts = [
            ("Input", times(net.input_shape)),
            ("Layers", str(len(net.layers))),
            ("Parameters", f"{about['parameters']:,}"),
            ("Multiply-adds", f"{about['multiply_adds']:,}"),
        ]
        diagnosed = self.done.get("diagnosis")
        healthy = ""
        if diagnosed is not None:
            facts.append(("Images", f"{diagnosed.numbers['images']:,}"))
            if diagnosed.numbers["accuracy"] is not None:
                facts.append(("Right answers", f"{diagnosed.numbers['accuracy']:.1%}"))
            count = diagnosed.numbers["images"]
            healthy = (
                f"Nothing is wrong with any layer, by the thresholds of the diagnosis, on "
                f"{counted(count, 'image')}."
            )
            if count < FEW:
                healthy += " So few images do not show much: give it more."
        return Document(
            title=f"{net.name}: what it is, and what it sees",
            lead=f"A report on {net.name}. Images: {source.name}. Looked at closely: "
            f"{', '.join(self.subject.names)}.",
            facts=tuple(facts),
            notes=net.notes,
            sections=self.sections(),
            missing=tuple(self.missing),
            healthy=healthy,
        )


__all__ = ["NUMBERS", "PAGE", "Report", "report"]
