"""Correspondence: the same part hidden in several images, and how the features change."""

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from convscope.arguments import check_seed
from convscope.errors import ConvscopeError, DataError, Interrupted
from convscope.methods import budget as budgets
from convscope.methods.correspondence_result import Correspondence
from convscope.methods.invariance import chosen_layers
from convscope.methods.occlude.patches import FillValue, fill_for
from convscope.methods.parts import Part, PartSet, names_of, read_parts
from convscope.methods.pictures import Images, read
from convscope.network import Network
from convscope.network.layers import LayerName
from convscope.network.shield import shielded
from convscope.network.walk import ascend
from convscope.wording import counted

Box = tuple[int, int, int, int]
"""Top, left, bottom, right, the last two excluded."""


@shielded
def correspondence(
    net: Network,
    parts: str | os.PathLike[str] | PartSet | Sequence[Part],
    images: Images | None = None,
    layer: LayerName | Sequence[LayerName] | None = None,
    *,
    fill: FillValue = "gray",
    repeats: int = 10,
    seed: int = 0,
    titles: Sequence[str] | None = None,
    budget: float | str | None = None,
    progress: budgets.Progress | None = None,
) -> Correspondence:
    """Measure whether a network treats the same part of different images alike.

    With x the features of an image and x' those with a part of it hidden, the change is
    sign(x - x'). For each part the changes of all pairs of images are compared, entry by entry
    (Zeiler & Fergus, arXiv 1311.2901, sec. 4.3 and table 1); fewer differing entries than for boxes
    at random places mean that the layer sees a correspondence.

    Args:
        net: the network.
        parts: the file of a table of parts, or what :func:`~.parts.read_parts` returned for it; or
            a list of parts, with their *images*. Each is marked in two images at least and once an
            image.
        images: of a list of parts: picture files or Pillow images, or [N, C, H, W] in the network's
            input space. A table names its own.
        layer: a layer's name, or a module; several in a list; None for the end of the first block
            and of the middle one, and the last layer before the class scores (the paper takes its
            layers 5 and 7).
        fill: what hides the pixels: see :func:`~.occlude.occlude`.
        repeats: how many times random boxes of the same sizes are drawn for each part.
        seed: of the random places.
        titles: one an image; by default the names of the files, or numbers.
        budget: seconds after which to stop.
        progress: called with what was hidden so far and what there is in all.

    Returns:
        the differences, with those of random boxes.

    Raises:
        DataError: if a part is marked in one image only, twice in one, or beyond an image.
        ImageError: if the images or the fill do not fit.
        UnitError: if there is no such layer.
        ConvscopeError: if the repetitions are none, or the budget.
        Interrupted: on Ctrl-C, with what was done by then as its ``result``.

    >>> from torch import nn
    >>> net = Network(nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU()), torch.zeros(1, 1, 4, 4))
    >>> images = torch.rand(2, 1, 4, 4)
    >>> parts = [Part(0, "corner", (0, 0, 2, 2)), Part(1, "corner", (0, 0, 2, 2))]
    >>> c = correspondence(net, parts, images, "0", fill=5.0, repeats=3)
    >>> c.difference, c.same_place[0, 0]  # every value falls or rises by the same weights
    (tensor([[0.]], dtype=torch.float64), tensor([0., 0., 0.], dtype=torch.float64))
    """
    deadline = budgets.Deadline(budget)
    if repeats < 1:
        raise ConvscopeError(f"the number of repeats must be at least 1, not {repeats}")
    check_seed(seed)
    if isinstance(parts, str | os.PathLike):
        parts = read_parts(parts, net.preprocess)
    if isinstance(parts, PartSet):
        if images is not None:
            raise DataError("a table of parts names its own images: leave out the others")
        titles = [path.name for path in parts.files] if titles is None else titles
        images, parts = parts.images, parts.parts
    if images is None:
        raise DataError("a list of parts needs the images that they are marked in")
    net = net.fitting(images)
    checked, names = read(net, images, titles)
    _check(parts, checked)
    chosen = chosen_layers(net, layer)
    work = _CorrespondenceWork(
        net, checked, tuple(names), chosen, list(parts), fill, repeats, seed, progress
    )
    try:
        work.take_parts()
        partial = "" if work.take_controls(deadline) else "budget"
    except KeyboardInterrupt:
        if not work.compared:
            raise
        raise Interrupted("the correspondence was stopped", work.result("interrupted")) from None
    return work.result(partial)


def _check(parts: Sequence[Part], images: Tensor) -> None:
    if not parts:
        raise DataError("no part is marked")
    height, width = images.shape[-2:]
    for part in parts:
        top, left, bottom, right = part.box
        if not 0 <= part.image < len(images):
            raise DataError(f"{part.name!r} is marked in image {part.image} of {len(images)}")
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise DataError(
                f"{part.name!r} of image {part.image} does not lie in it: {part.box} of "
                f"{height} x {width}"
            )
    for name in names_of(parts):
        own = [part.image for part in parts if part.name == name]
        if len(set(own)) < len(own):
            raise DataError(f"{name!r} is marked twice in one image")
        if len(own) < 2:
            raise DataError(f"{name!r} is marked in one image only: it takes two to compare")


@dataclass
class _CorrespondenceWork:
    """The differences as they come in."""

    net: Network
    images: Tensor
    titles: tuple[str, ...]
    layers: list[int]
    parts: list[Part]
    fill: FillValue
    repeats: int
    seed: int
    progress: budgets.Progress | None
    done: int = 0
    compared: int = 0

    def __post_init__(self) -> None:
        self.names = names_of(self.parts)
        self.marks = [
            [(part.image, part.box) for part in self.parts if part.name == name]
            for name in self.names
        ]
        shape = len(self.names), len(self.layers)
        self.difference = torch.full(shape, torch.nan, dtype=torch.float64)
        self.error, self.changed = self.difference.clone(), self.difference.clone()
        controls = torch.full((*shape, self.repeats), torch.nan, dtype=torch.float64)
        self.controls = {"random": controls, "same_place": controls.clone()}
        self.clean = [self._features(image) for image in self.images]
        # By the parts' median height and width a blur knows how far to go.
        sizes = [(p.box[2] - p.box[0], p.box[3] - p.box[1]) for p in self.parts]
        height, width = map(int, np.median(sizes, axis=0))
        self.fills = [
            fill_for(self.fill, image, self.net.preprocess, (height, width))
            for image in self.images
        ]

    @property
    def total(self) -> int:
        return len(self.parts) * (1 + 2 * self.repeats)

    def _features(self, image: Tensor) -> list[Tensor]:
        # One image at a time: in a batch, rounding could differ from image to image, and a change
        # that is nothing but rounding must not count.
        maps = ascend(self.net.graph, image[None], self.layers).maps
        return [maps[index].flatten() for index in self.layers]

    def changes(self, n: int, box: Box) -> list[Tensor]:
        """Return the sign of what hiding a box of image *n* changes, int8, one a layer."""
        image, fill = self.images[n], self.fills[n]
        behind = fill.behind(image, np.array([box]))[0].expand_as(image)
        top, left, bottom, right = box
        hidden = image.clone()
        hidden[:, top:bottom, left:right] = behind[:, top:bottom, left:right]
        found = []
        for clean, now in zip(self.clean[n], self._features(hidden), strict=True):
            difference = clean - now
            least = 16 * torch.finfo(clean.dtype).eps * float(clean.abs().max())
            difference[difference.abs() <= least] = 0
            found.append(difference.sign().to(torch.int8).cpu())
        self.done += 1
        if self.progress:
            self.progress(self.done, self.total)
        return found

    def hidden(self, boxes: Sequence[tuple[int, Box]]) -> list[Tensor]:
        """Return what hiding boxes of some images changes, [boxes, F], one a layer."""
        changes = [self.changes(n, box) for n, box in boxes]
        return [torch.stack(own) for own in zip(*changes, strict=True)]

    def take_parts(self) -> None:
        """Hide each part."""
        for p in range(len(self.names)):
            for at, own in enumerate(self.hidden(self.marks[p])):
                pairs = differences(own)
                self.difference[p, at] = mean_of_pairs(pairs)
                self.error[p, at] = jackknife_error(pairs)
                self.changed[p, at] = (own != 0).double().mean()
            self.compared += 1

    def take_controls(self, deadline: budgets.Deadline) -> bool:
        """Hide boxes of the same sizes elsewhere; return whether all was done in time."""
        for repeat, p, (kind, found) in product(
            range(self.repeats), range(len(self.names)), self.controls.items()
        ):
            if deadline.passed:
                return False
            places = self._places(kind, repeat, p, len(self.marks[p]))
            moved = [
                (n, self._moved(box, *place))
                for (n, box), place in zip(self.marks[p], places, strict=True)
            ]
            for at, own in enumerate(self.hidden(moved)):
                found[p, at, repeat] = mean_of_pairs(differences(own))
        return True

    def _places(self, kind: str, repeat: int, part: int, count: int) -> list[tuple[float, float]]:
        """Return how far down and across boxes lie, 0 to 1, one an image."""
        generator = np.random.default_rng([self.seed, repeat, part, kind == "random"])
        drawn = generator.random((count if kind == "random" else 1, 2))
        places = [(float(down), float(across)) for down, across in drawn]
        return places if kind == "random" else places * count

    def _moved(self, box: Box, down: float, across: float) -> Box:
        """Return a box of the same size at another place of the image."""
        height, width = box[2] - box[0], box[3] - box[1]
        rows, columns = self.images.shape[-2] - height + 1, self.images.shape[-1] - width + 1
        top, left = int(down * rows), int(across * columns)
        return top, left, top + height, left + width

    def result(self, partial: str) -> Correspondence:
        """Return the record."""
        notes = [*self.net.notes, *_cut(self.parts)]
        if partial:
            notes.append(f"stopped early: {self.done} of {self.total} boxes were hidden")
        return Correspondence(
            images=self.images.cpu(),
            difference=self.difference,
            error=self.error,
            random=self.controls["random"],
            same_place=self.controls["same_place"],
            changed=self.changed,
            parts=tuple(self.names),
            layers=tuple(self.net.graph.steps[index].name for index in self.layers),
            counts=tuple(map(len, self.marks)),
            boxes=tuple((p.image, self.names.index(p.name), *p.box) for p in self.parts),
            fill=self.fills[0].name,
            seed=self.seed,
            network=self.net.name,
            preprocess=self.net.preprocess,
            titles=self.titles,
            partial=partial,
            notes=tuple(notes),
        )


def _cut(parts: Sequence[Part]) -> list[str]:
    """Return a note on the marked boxes that the network does not see the whole of, if any."""
    counts = Counter(part.name for part in parts if part.cut)
    if not counts:
        return []
    several = ", ".join(f"{name} in {counted(count, 'image')}" for name, count in counts.items())
    return [f"cut to what the network is shown: {several}"]


def differences(signs: Tensor) -> Tensor:
    """Return the share of entries that differ between the rows of [N, F], [N, N], float64.

    >>> differences(torch.tensor([[1, 0, -1, 1], [1, 1, -1, 0]]))[0, 1].item()
    0.5
    """
    rows = [(signs != own).double().mean(1) for own in signs]
    return torch.stack(rows)


def mean_of_pairs(pairs: Tensor) -> float:
    """Return the mean of [N, N] over all pairs of different images."""
    count = len(pairs)
    return float((pairs.sum() - pairs.diagonal().sum()) / (count * (count - 1)))


def jackknife_error(pairs: Tensor) -> float:
    """Return the standard error of :func:`mean_of_pairs`, leaving out one image after the other.

    The pairs of one image are not independent, so that the spread over the pairs would be no error.
    NaN for two images.
    """
    count = len(pairs)
    if count < 3:
        return math.nan
    own = pairs.sum(0) - pairs.diagonal()
    means = (own.sum() - 2 * own) / ((count - 1) * (count - 2))
    return float(((count - 1) * means.var(correction=0)).sqrt())
