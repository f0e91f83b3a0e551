"""Correspondence: the same part hidden in several images, and how the features change."""

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from convscope.arguments import check_seed
from convscope.errors import ConvscopeError, DataError, Interrupted
from convscope.images import Preprocess
from convscope.methods import budget as budgets
from convscope.methods import not_finite
from convscope.methods.invariance import chosen_layers
from convscope.methods.occlude.patches import FillValue, fill_for
from convscope.methods.parts import Part, PartSet, names_of, read_parts
from convscope.methods.pictures import Images, read
from convscope.network import Network
from convscope.network.layers import LayerName
from convscope.network.shield import shielded
from convscope.network.walk import ascend
from convscope.results import Result
from convscope.wording import counted

Box = tuple[int, int, int, int]
"""Top, left, bottom, right, the last two excluded."""


@dataclass(frozen=True, eq=False, repr=False)
class Correspondence(Result):
    """How differently features change when the same part of several images is hidden.

    All tensors lie on the CPU. P stands for the parts, L for the layers, R for the repetitions with
    random boxes. A difference is the share of a layer's features, 0 to 1, whose change has another
    sign in one image than in another, as a mean over all pairs of images; what was not computed
    before the work was stopped is NaN.

    Attributes:
        images: [N, C, H, W], the images as they are, in the network's input space.
        difference: [P, L], float64, with the part hidden: Zeiler & Fergus's Delta, divided by the
            number of pairs and by the number of features.
        error: [P, L], float64: its standard error, by leaving out one image after the other; NaN
            where there are two images.
        random: [P, L, R], float64: the same with a box of the part's size at a random place, an own
            one in each image.
        same_place: [P, L, R], float64: the same with a box at a random place that is the same in
            all images; what hides the same place changes the same units, whatever is there.
        changed: [P, L], float64: the share of features that hiding the part changes at all.
        parts: names of the parts.
        layers: names of the layers.
        counts: in how many images each part is marked.
        boxes: number of the image, number of the part, top, left, bottom, right, for every mark.
        fill: what hides the pixels.
        seed: of the random places.
        network: the network's name.
        preprocess: takes inputs back to pixels.
        titles: one an image.
    """

    images: Tensor
    difference: Tensor
    error: Tensor
    random: Tensor
    same_place: Tensor
    changed: Tensor
    parts: tuple[str, ...]
    layers: tuple[str, ...]
    counts: tuple[int, ...]
    boxes: tuple[tuple[int, ...], ...]
    fill: str
    seed: int
    network: str
    preprocess: Preprocess
    titles: tuple[str, ...]

    figure: ClassVar[str] = "correspondence"
    seen_only: ClassVar[tuple[str, ...]] = ("images",)

    @property
    def corresponds(self) -> Tensor:
        """[P, L], bool: whether a part's difference is better than chance.

        It is if it is lower than with every box at random places; and, where the part lies in
        nearly the same place in some of the images, than with every box at one random place.
        """
        # What was not drawn is NaN, which nothing is lower than.
        lower, at_one_place = (
            (self.difference[..., None] < drawn).all(2) for drawn in (self.random, self.same_place)
        )
        shared = [self._shares_its_place(p) for p in range(len(self.parts))]
        return lower & (at_one_place | ~torch.tensor(shared)[:, None])

    def _shares_its_place(self, part: int) -> bool:
        """Return whether the boxes of a part overlap between images."""
        boxes = [box for _, own, *box in self.boxes if own == part]
        return any(
            one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
            for one, other in combinations(boxes, 2)
        )

    def control(self, name: str) -> tuple[Tensor, Tensor]:
        """Return the mean of a control over its repetitions and the mean's standard error.

        Args:
            name: ``"random"`` or ``"same_place"``.

        Returns:
            [P, L] each; the error is over the choice of the places, not of the images, and NaN
            where there are less than two repetitions.
        """
        values: Tensor = getattr(self, name)
        known = (~values.isnan()).sum(2)
        mean = values.nanmean(2)
        squares = ((values - mean[..., None]) ** 2).nansum(2)
        error = (squares / (known - 1).clamp(min=1) / known.clamp(min=1)).sqrt()
        return mean, torch.where(known > 1, error, torch.nan)

    def to_dict(self, **options: Any) -> dict[str, Any]:
        """Return all but the images, fit for JSON but for NaN, with what follows from it."""
        return {**super().to_dict(), "corresponds": self.corresponds.tolist()}

    def table(self) -> list[dict[str, Any]]:
        """Return a row a layer and part: its difference, and those of the controls."""
        controls = {name: self.control(name) for name in ("random", "same_place")}
        return [
            {
                "layer": layer,
                "part": part,
                "images": self.counts[p],
                "difference": float(self.difference[p, at]),
                "error": float(self.error[p, at]),
                **{name: float(mean[p, at]) for name, (mean, _) in controls.items()},
                **{f"{name}_error": float(error[p, at]) for name, (_, error) in controls.items()},
                "changed": float(self.changed[p, at]),
                "corresponds": bool(self.corresponds[p, at]),
            }
            for at, layer in enumerate(self.layers)
            for p, part in enumerate(self.parts)
        ]

    def summary(self) -> str:
        """Return one table a layer, as table 1 of Zeiler & Fergus."""
        wide = max(len("hidden"), *(len(name) for name in self.parts))
        lines = []
        for place, row in enumerate(self.table()):
            if place % len(self.parts) == 0:
                lines += [
                    f"{row['layer']}: share of features whose change has another sign, ± standard "
                    f"error",
                    f"  {'hidden':{wide}}  {'the part':>15}  {'random places':>15}  "
                    f"{'one random place':>16}  changed at all",
                ]
            lines.append(
                f"  {row['part']:{wide}}  {_with_error(row['difference'], row['error']):>15}"
                f"  {_with_error(row['random'], row['random_error']):>15}"
                f"  {_with_error(row['same_place'], row['same_place_error']):>16}"
                f"  {row['changed']:>14.1%}"
                f"{'' if row['corresponds'] else '  no better than chance'}"
            )
        if self.partial:
            lines.append(f"partial: {self.notes[-1]}")
        return "\n".join(lines)


def _with_error(value: float, error: float) -> str:
    if math.isnan(value):
        return "none"
    return f"{value:.3f}" if math.isnan(error) else f"{value:.3f} ± {error:.3f}"


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

    Raises:
        DataError: if a part is marked in one image only, twice in one, or beyond an image; or where
            the network makes NaN or infinity of an image, or of one with a box hidden.
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
        partial = "" if work.run(deadline) else "budget"
    except KeyboardInterrupt:
        if work.difference.isnan().all():
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
                f"{height}×{width}"
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

    def __post_init__(self) -> None:
        self.names = names_of(self.parts)
        self.marks = [
            [(part.image, part.box) for part in self.parts if part.name == name]
            for name in self.names
        ]
        shape = len(self.names), len(self.layers)
        self.difference = torch.full(shape, torch.nan, dtype=torch.float64)
        self.error, self.changed = self.difference.clone(), self.difference.clone()
        self.total = len(self.parts) * (1 + 2 * self.repeats)
        controls = torch.full((*shape, self.repeats), torch.nan, dtype=torch.float64)
        self.controls = {"random": controls, "same_place": controls.clone()}
        named = zip(self.images, self.titles, strict=True)
        self.clean = [self._features(image, title) for image, title in named]
        # By the parts' median height and width a blur knows how far to go.
        sizes = [(p.box[2] - p.box[0], p.box[3] - p.box[1]) for p in self.parts]
        height, width = map(int, np.median(sizes, axis=0))
        self.fills = [
            fill_for(self.fill, image, self.net.preprocess, (height, width))
            for image in self.images
        ]

    def _features(self, image: Tensor, name: str) -> list[Tensor]:
        # One image at a time: in a batch, rounding could differ from image to image, and a change
        # that is nothing but rounding must not count.
        maps = ascend(self.net.graph, image[None], self.layers).maps
        found = [maps[index].flatten() for index in self.layers]
        if not all(own.isfinite().all() for own in found):
            not_finite.refuse(self.net, image[None], self.layers, name)
        return found

    def changes(self, n: int, box: Box) -> list[Tensor]:
        """Return the sign of what hiding a box of image *n* changes, int8, one a layer."""
        image, fill = self.images[n], self.fills[n]
        behind = fill.behind(image, np.array([box]))[0].expand_as(image)
        top, left, bottom, right = box
        hidden = image.clone()
        hidden[:, top:bottom, left:right] = behind[:, top:bottom, left:right]
        found = []
        name = f"{self.titles[n]} with a box hidden"
        for clean, now in zip(self.clean[n], self._features(hidden, name), strict=True):
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

    def run(self, deadline: budgets.Deadline) -> bool:
        """Hide each part, then boxes of the same sizes; return whether all was done in time."""
        for p, marks in enumerate(self.marks):
            for at, own in enumerate(self.hidden(marks)):
                pairs = differences(own)
                self.difference[p, at] = mean_of_pairs(pairs)
                self.error[p, at] = jackknife_error(pairs)
                self.changed[p, at] = (own != 0).double().mean()
        for repeat, p, (kind, found) in product(
            range(self.repeats), range(len(self.names)), self.controls.items()
        ):
            if deadline.passed:
                return False
            for at, own in enumerate(self.hidden(self._moved(kind, repeat, p))):
                found[p, at, repeat] = mean_of_pairs(differences(own))
        return True

    def _moved(self, kind: str, repeat: int, part: int) -> list[tuple[int, Box]]:
        """Return a part's marks with boxes of the same size elsewhere in their images."""
        marks, own = self.marks[part], kind == "random"
        generator = np.random.default_rng([self.seed, repeat, part, own])
        # How far down and across each lies, 0 to 1; or all of them alike.
        places = np.broadcast_to(generator.random((len(marks) if own else 1, 2)), (len(marks), 2))
        moved = []
        for (n, box), (down, across) in zip(marks, places, strict=True):
            height, width = box[2] - box[0], box[3] - box[1]
            top = int(down * (self.images.shape[-2] - height + 1))
            left = int(across * (self.images.shape[-1] - width + 1))
            moved.append((n, (top, left, top + height, left + width)))
        return moved

    def result(self, partial: str) -> Correspondence:
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
