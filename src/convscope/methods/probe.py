"""Probe: how well a linear classifier tells classes apart by what each layer says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from convscope.arguments import check_seed
from convscope.errors import ConvscopeError, DataError, ImageError
from convscope.methods import bad_images, budget, not_finite
from convscope.methods.compare_result import told_apart
from convscope.methods.descents import images_at_once
from convscope.methods.scanning.batches import batches
from convscope.methods.scanning.sources import NO_LABEL, Images, fitted, images_of
from convscope.network import Network
from convscope.network.blocks import feature_maps
from convscope.network.layers import LayerName, listed
from convscope.network.shield import shielded
from convscope.network.visit import visit
from convscope.results import Result
from convscope.wording import counted

STRENGTH = 0.01
"""Scikit-learn's C, on features of mean 0 and deviation 1, of which there are many an image."""

STEPS = 2000
"""Of its solver, at most."""

CONFIDENCE = 1.96
"""Deviations on either side within which 95 % of a normal distribution lies."""


@dataclass(frozen=True, eq=False, repr=False)
class Probe(Result):
    """How many of N images are told apart by each of R layers' features.

    Attributes:
        right: [R, N], bool: whether the classifier is right on an image, trained without it.
        features: how many numbers of each layer it was given.
        layers: their names; ``"images"`` for the pixels.
        networks: the network that each is of, with A and B where two are called alike.
        commonest: the share of the commonest class, which a guess reaches.
        classes: how many classes there are.
        folds: in how many parts the images were left out in turn.
        grid: into how many places each way a map was averaged.
        seed: of these parts.
        data: what the set of images is called.
        bad: image -> why it was left out.
    """

    right: Tensor
    features: tuple[int, ...]
    layers: tuple[str, ...]
    networks: tuple[str, ...]
    commonest: float
    classes: int
    folds: int
    grid: int
    seed: int
    data: str
    bad: dict[str, str] = field(default_factory=dict)

    figure: ClassVar[str] = "probe"

    @cached_property
    def accuracy(self) -> Tensor:
        """The share that is right, [R], float64."""
        return self.right.double().mean(1)

    @cached_property
    def interval(self) -> Tensor:
        """Where the accuracy on more such images lies with 95 % confidence, [R, 2] (Wilson)."""
        share, z, count = self.accuracy, CONFIDENCE, self.right.shape[1]
        middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
        wide = (share * (1 - share) / count + z**2 / (4 * count**2)).sqrt() * z / (1 + z**2 / count)
        return torch.stack([middle - wide, middle + wide], 1)

    def table(self) -> list[dict[str, Any]]:
        """Return a row a layer."""
        return [
            {"network": network, "layer": layer, "features": features,
             "accuracy": float(accuracy), "low": low, "high": high}
            for network, layer, features, accuracy, (low, high) in zip(
                self.networks, self.layers, self.features, self.accuracy, self.interval.tolist(),
                strict=True,
            )
        ]  # fmt: skip

    def summary(self) -> str:
        """Return a line a layer."""
        lines = [
            f"a linear classifier on {counted(self.right.shape[1], 'image')} of {self.data}, "
            f"{self.classes} classes (the commonest {self.commonest:.1%})"
        ]
        lines += [
            f"  {row['network']}, {row['layer']}: {row['accuracy']:.1%} "
            f"({row['low']:.1%} to {row['high']:.1%})"
            for row in self.table()
        ]
        return "\n".join([*lines, *bad_images.told(self.bad.items())])


@shielded
@budget.holding
def probe(
    net: Network,
    images: Any,
    layer: LayerName | Sequence[LayerName] | None = None,
    *,
    labels: Sequence[int] | None = None,
    against: Network | None = None,
    grid: int = 2,
    folds: int = 5,
    sample: int = 2000,
    seed: int = 0,
    memory: int | str = budget.DEFAULT,
    progress: budget.Progress | None = None,
) -> Probe:
    """Train a linear classifier on each layer's features, and see how far it gets.

    Zeiler & Fergus (arXiv 1311.2901, table 7) ask so from which layer on features tell classes
    apart. The images go up once; a layer's maps are averaged to a few places. The classifier is
    scikit-learn's logistic regression on features of mean 0 and deviation 1, and each image is
    answered once, by one that was trained without it.

    Args:
        net: the network.
        images: as for :func:`.scan`: a folder with class folders, a tensor, a data set.
        layer: names or modules; by default the images themselves, and the feature maps of each
            stage.
        labels: a whole number an image; by default those of the data set.
        against: another network that takes the same images, probed beside it, such as one with
            random weights, which tells what the architecture alone does.
        grid: places each way that a map is averaged to, at most.
        folds: in how many parts the images are left out in turn.
        sample: how many of the images are taken, spread evenly, at most.
        seed: of these parts.
        memory: bytes, or a text such as ``"2GB"``, for the maps.
        progress: called with the layers done and the layers in all.

    Raises:
        ConvscopeError: if scikit-learn is missing, or an option means nothing.
        DataError: if images have no labels, a class has fewer images than there are folds, or a
            layer's values are not finite.
        ImageError: if an image cannot be used.
        UnitError: if there is no such layer.
    """
    for name, given, least in (("grid", grid, 1), ("folds", folds, 2), ("sample", sample, 1)):
        if given < least:
            raise ConvscopeError(f"{name} must be at least {least}, not {given}")
    check_seed(seed)
    learning("linear_model")
    net = fitted(net, images)
    source = images_of(images, net)
    if labels is not None and len(labels) != len(source):
        raise ImageError(f"there are {len(labels)} labels for {len(source)} images")
    works = [_Features(one, layer, grid) for one in (net, against) if one is not None]
    chosen = budget.evenly(len(source), sample)
    own, bad = _go_up(works, source, chosen, labels, budget.parse_bytes(memory))
    _, counts = np.unique(own, return_counts=True)
    least = min(counts.tolist(), default=0)
    if len(counts) < 2 or least < folds:
        raise DataError(
            f"a probe takes two classes, and {folds} images of each to leave out in turn: there "
            f"are {len(counts)}, the smallest of {least}{bad_images.first(bad)}"
        )
    rows = [(work, step) for work in works for step in work.steps]
    right = []
    for work, step in rows:
        right.append(_right(work.of(step), own, folds, seed))
        if progress:
            progress(len(right), len(rows))
    names, notes = _named(works)
    return Probe(
        right=torch.from_numpy(np.stack(right)),
        features=tuple(work.of(step).shape[1] for work, step in rows),
        layers=tuple(work.net.graph.steps[step].name for work, step in rows),
        networks=tuple(name for name, work in zip(names, works, strict=True) for _ in work.steps),
        commonest=float(counts.max() / counts.sum()),
        classes=len(counts),
        folds=folds,
        grid=grid,
        seed=seed,
        data=source.name,
        bad=bad,
        notes=notes,
    )


def _named(works: Sequence[_Features]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what the networks are called, and their notes: whose each is, where not of both."""
    nets = [work.net for work in works]
    if len(nets) == 1:
        return (nets[0].name,), nets[0].notes
    called = (
        ", ".join((net.name, *(note for note in net.notes if note.startswith("random weights"))))
        for net in nets
    )
    names = told_apart(*called)
    shared = [note for note in nets[0].notes if note in nets[1].notes]
    own = [
        f"{name}: {note}"
        for name, net in zip(names, nets, strict=True)
        for note in net.notes
        if note not in shared and note not in name
    ]
    return names, (*shared, *own)


class _Features:
    """The features of some layers, image by image; step 0 stands for the images themselves."""

    def __init__(
        self, net: Network, layer: LayerName | Sequence[LayerName] | None, grid: int
    ) -> None:
        self.net, self._grid = net, grid
        if layer is None:
            self.steps = [0, *feature_maps(net.graph)]
        else:
            self.steps = [net.step(one) for one in listed(layer)]
        for step in self.steps:
            net.check_units(step)
        self._found: dict[int, list[Tensor]] = {step: [] for step in self.steps}

    def add(self, images: Tensor) -> None:
        """Let images go up, and keep what each layer says."""
        images = self.net.checked(images)
        self._keep(0, images)
        visit(self.net.graph, images, {*self.steps} - {0}, self._keep)
        if not all(found[-1].isfinite().all() for found in self._found.values()):
            not_finite.refuse(self.net, images, self.steps, self.net.name)

    def of(self, step: int) -> npt.NDArray[np.float32]:
        """Return the features of all images, [N, features]."""
        found: npt.NDArray[np.float32] = torch.cat(self._found[step]).numpy()
        return found

    def _keep(self, step: int, maps: Tensor) -> None:
        if step not in self._found:
            return
        if maps.dim() == 4:
            height, width = (min(self._grid, side) for side in maps.shape[2:])
            maps = functional.adaptive_avg_pool2d(maps, (height, width))
        self._found[step].append(maps.flatten(1).float().cpu())


def _go_up(
    works: Sequence[_Features], source: Images, chosen: Sequence[int],
    labels: Sequence[int] | None, memory: int,
) -> tuple[npt.NDArray[np.int64], dict[str, str]]:  # fmt: skip
    """Let the chosen images go up once; return their classes, [N], and those that are left out."""
    own, bad = [], dict[int, str]()
    at_once = min(images_at_once(work.net.graph, work.steps, memory) for work in works)
    for batch in batches([(source, works[0].net)], chosen, at_once, left_out=bad.__setitem__):
        for number, label in zip(batch.numbers, batch.classes[0].tolist(), strict=True):
            if labels is None and label < 0:
                lacks = "no label" if label == NO_LABEL else "a label that is no class's number"
                raise DataError(f"{source.title(number)} has {lacks}; a probe learns by these")
            own.append(label if labels is None else int(labels[number]))
        for work in works:
            work.add(batch.inputs[0])
    return np.array(own), bad_images.titled(bad, source.title)


def _right(
    features: npt.NDArray[np.float32], own: npt.NDArray[np.int64], folds: int, seed: int
) -> npt.NDArray[np.bool_]:
    """Return which images are told right by a classifier that was trained without them, [N]."""
    found = np.zeros(len(own), dtype=np.bool_)
    parts = learning("model_selection").StratifiedKFold(folds, shuffle=True, random_state=seed)
    for known, others in parts.split(features, own):
        scaler = learning("preprocessing").StandardScaler().fit(features[known])
        classifier = learning("linear_model").LogisticRegression(C=STRENGTH, max_iter=STEPS)
        classifier.fit(scaler.transform(features[known]), own[known])
        answers = classifier.predict(scaler.transform(features[others]))
        found[others] = answers == own[others]
    return found


def learning(module: str) -> Any:
    """Return a module of scikit-learn, or say how to install it."""
    try:
        return import_module(f"sklearn.{module}")
    except ModuleNotFoundError as error:
        raise ConvscopeError(
            "a probe needs scikit-learn: install it with `pip install 'convscope[probe]'`"
        ) from error
