"""Report: everything that convscope can say of a network, as one page, within a time."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from convscope import __version__
from convscope.errors import ConvscopeError, DataError, ImageError, Interrupted
from convscope.methods import budget as budgets
from convscope.methods.pictures import read
from convscope.methods.scanning.sources import Images, checked_image, images_of
from convscope.network import Network
from convscope.network.constants import weights_hash
from convscope.network.shield import shielded
from convscope.outputs import check_folder, claim_folder
from convscope.pages import report_sections as sections
from convscope.pages.report_result import PARTS, Report, as_tensors, check_same
from convscope.pages.report_sections import Progress, Subject
from convscope.pages.section import Section, Shelf
from convscope.reading import Picture

PICTURES = 2
UNITS_A_SECTION = 1000


@dataclass(frozen=True)
class Task:
    """A section to make, within seconds if there is a limit."""

    name: str
    title: str
    make: Callable[[Subject, float | None, Progress], Section]
    share: float
    """Of the time, beside the others'; 0 for what takes next to none."""


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


@shielded
@budgets.holding
def report(
    net: Network,
    images: Any,
    pictures: Sequence[int | Picture | Tensor] | None = None,
    *,
    titles: Sequence[str] | None = None,
    folder: str | os.PathLike[str] | None = None,
    budget: float | str | None = None,
    memory: int | str = budgets.DEFAULT,
    progress: Progress | None = None,
) -> Report:
    """Say all that convscope can say of a network: saved to a folder it is one page.

    The architecture drawn, the diagnosis and its findings, the layers, and of a few pictures the
    projections, the occlusion, the grids that strides leave, what the projections depend on, and
    what moving the picture does.

    Args:
        net: the network.
        images: a folder of pictures or a data set, as for :func:`.scan`, to diagnose it on.
        pictures: those to look at closely: numbers of images, picture files or Pillow images, or
            [1, C, H, W] in the network's input space; None for two of the images.
        titles: one a picture; by default the names of the files, or numbers.
        folder: where finished sections are kept, in ``parts/``, made if missing: the same call
            again makes only what is missing, or was cut short.
        budget: seconds in all, shared among the sections; None for no limit. One projection or
            one pass over a few images is always made, so that it may take a little longer.
        memory: bytes, or a text such as ``"2GB"``, for the maps.
        progress: called with the work done and all of it.

    Returns:
        the sections, to show or to save.

    Raises:
        DataError: if there is no image, or none can be read.
        ImageError: if a picture cannot be read or does not fit, or there is not a title for each.
        OutputError: if *folder* cannot be written, lies among the images, or holds other files than
            a report's, or the report of another network or of other pictures.
        Interrupted: on Ctrl-C, with what was done by then as its ``result``.
    """
    deadline = budgets.Deadline(budget)
    source = images_of(images, net)
    if folder is not None:
        check_folder(folder, Report.folder, getattr(source, "folder", None))
    chosen, called = _pictures(net, source, pictures, titles)
    parts, about = None, {"weights": weights_hash(net)}
    if folder is not None:
        about = _about(net, source, chosen, called)
        check_same(folder, about)
        parts = claim_folder(folder, Report.folder) / PARTS
    shelf = Shelf(parts, about)
    work = _Sections(Subject(net, source, chosen, called, shelf, memory), deadline, progress)
    work.make()
    if work.partial == "interrupted":
        raise Interrupted("the report was stopped", work.report())
    return work.report()


def _pictures(
    net: Network,
    source: Images,
    pictures: Sequence[int | Picture | Tensor] | None,
    titles: Sequence[str] | None,
) -> tuple[Tensor, tuple[str, ...]]:
    if pictures is None:
        found, called = _first_readable(net, source)
    else:
        read_each = [_picture(net, source, one, n) for n, one in enumerate(pictures, start=1)]
        found, called = [one for one, _ in read_each], [title for _, title in read_each]
    if not found:
        raise DataError("a report needs a picture to look at closely")
    stacked, names = read(net, torch.stack(found).to(net.dtype), titles or called)
    return stacked.cpu(), tuple(names)


def _picture(
    net: Network, source: Images, picture: int | Picture | Tensor, place: int
) -> tuple[Tensor, str]:
    if isinstance(picture, int):
        return checked_image(source.load(picture)[0], net), source.title(picture)
    given = picture if isinstance(picture, Tensor) else [picture]
    found, (title, *_) = read(net, given, None)
    return found[0].cpu(), title if isinstance(picture, str | os.PathLike) else f"picture {place}"


def _first_readable(net: Network, source: Images) -> tuple[list[Tensor], list[str]]:
    """Return two images that can be read, from the beginning and the middle of a set, by title."""
    order = [0, len(source) // 2, *range(len(source))]
    found: dict[int, Tensor] = {}
    for number in order:
        if len(found) == PICTURES:
            break
        try:
            found[number] = checked_image(source.load(number)[0], net)
        except ImageError:
            continue
    if not found:
        raise DataError(f"no image of {source.name} can be read")
    return list(found.values()), [source.title(number) for number in found]


def _about(
    net: Network, source: Images, pictures: Tensor, titles: tuple[str, ...]
) -> dict[str, Any]:
    """Return what a report is about: another of these, and nothing that was kept is used."""
    digest = hashlib.sha256(pictures.detach().float().cpu().contiguous().numpy().data)
    return {
        "network": net.name,
        "input_shape": list(net.input_shape),
        "layers": list(net.layers),
        "weights": weights_hash(net),
        "data": source.name,
        "titles": titles,
        "images": source.fingerprint(),
        "pictures": digest.hexdigest(),
        "convscope": __version__,
    }


class _Sections:
    def __init__(
        self, subject: Subject, deadline: budgets.Deadline, progress: Progress | None
    ) -> None:
        self.subject, self.deadline, self._progress = subject, deadline, progress
        self.done = subject.done
        self.missing: list[str] = []
        self.partial = ""

    def make(self) -> None:
        """Make what is not kept already, in order, until the time is spent."""
        kept = {task.name: self.subject.shelf.find(task.name) for task in TASKS}
        for place, task in enumerate(TASKS):
            self._count(place, 0, 1)
            found = kept[task.name]
            if found is not None and found.whole and task.share:
                self.done[task.name] = found
                continue
            if self.partial == "interrupted" or (task.share and self.deadline.share(1) == 0):
                self._leave(task, found, self.partial or "budget")
                continue
            left = [t for t in TASKS[place:] if not ((own := kept[t.name]) and own.whole)]
            try:
                self._make(place, task, self._share(task, left))
            except KeyboardInterrupt:
                self._leave(task, found, "interrupted")
        self._count(len(TASKS), 0, 1)

    def _make(self, place: int, task: Task, seconds: float | None) -> None:
        began = time.monotonic()
        try:
            section = task.make(
                self.subject, seconds, lambda done, total: self._count(place, done, total)
            )
        except ConvscopeError as error:
            why = str(error).partition(": give a target")[0]  # a report takes none
            self.missing.append(f"{task.title}: {why}")
            return
        took = time.monotonic() - began
        section = replace(section, name=task.name, title=task.title, seconds=took)
        self.subject.shelf.keep(section)
        self.done[task.name] = section
        if not section.whole:
            self.partial = "budget"
            self.missing.append(f"{task.title}: cut short by the budget; more of it makes the rest")

    def _leave(self, task: Task, found: Section | None, why: str) -> None:
        """Note what is not made now, and why, or use what an earlier time left of it."""
        self.partial = why
        if found is not None:
            self.done[task.name] = found
            self.missing.append(f"{task.title}: cut short an earlier time")
            return
        reason = {"interrupted": "interrupted", "budget": "the budget was spent"}[why]
        goes_on = "" if self.subject.shelf.folder is None else "; the same call goes on from here"
        self.missing.append(f"{task.title}: {reason}{goes_on}")

    def _share(self, task: Task, left: Sequence[Task]) -> float | None:
        """Return a task's part of the time that is left."""
        rest = self.deadline.share(1)
        if rest is None:
            return None
        return max(1.0, rest * task.share / (sum(own.share for own in left) or 1))

    def _count(self, place: int, done: int, total: int) -> None:
        if self._progress:
            share = min(1.0, done / max(1, total))
            self._progress(round((place + share) * UNITS_A_SECTION), len(TASKS) * UNITS_A_SECTION)

    def report(self) -> Report:
        """Return what is done."""
        net, source, layers = self.subject.net, self.subject.images, self.subject.net.layers
        diagnosed = self.done.get("diagnosis")
        numbers = {} if diagnosed is None else diagnosed.numbers
        return Report(
            network=net.name,
            input_shape=net.input_shape,
            layers=len(layers),
            parameters=sum(layer.parameters for layer in layers.values()),
            multiply_adds=sum(layer.multiply_adds for layer in layers.values()),
            data=source.name,
            images=numbers.get("images", len(source)),
            titles=self.subject.titles,
            sections=tuple(self.done[task.name] for task in TASKS if task.name in self.done),
            files=as_tensors(self.subject.shelf.files),
            missing=tuple(self.missing),
            weights=self.subject.shelf.subject["weights"],
            notes=net.notes,
            partial=self.partial,
        )
