"""What a scan says of every channel, worked out from its tally."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from convscope.methods.scanning.reductions import Singles
from convscope.methods.scanning.strongest import Booleans, Integers
from convscope.methods.scanning.tally import LayerTally, Tally, bin_edges

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LayerScan:
    """What a scan of N images says of the C channels of one convolutional layer.

    Attributes:
        name: the convolution's name.
        read_at: the layer whose output counts as activation; see :func:`.scanned_layers`.
        rectified: whether that is a rectifier.
        never_negative: whether it is one, such as ReLU, that lets no value below zero through.
        shape: channels, height and width of its map.
        peak: [C, top], float32: the strongest peaks, the strongest first, which may lie below zero
            where values do; 0 where there are fewer, as of a unit that is never above zero where
            none lies below.
        image: [C, top], int64: the images they are in; -1 where there are fewer.
        position: [C, top, 2], int64: row and column of each in the map.
        mean: [C], the mean activation over all images and positions.
        std: [C], its standard deviation.
        peak_mean: [C], the mean over images of the peak, the maximum over positions.
        active_images: [C], share 0..1 of the images in which the unit is active, above zero.
        active_positions: [C], share 0..1 of all positions where it is.
        selectivity: [C], 0..1, of classes; NaN where there are no labels, or it is never active.
        class_peaks: [C, K], mean over each class's images of the peak, or of 0 where that is below;
            NaN for a class without images.
        histogram: [C, bins], int64: how many images have such a peak; see :func:`.bin_edges`.
        similarity: [C, C], the correlation over images of two channels' peaks; 0 for a channel
            whose peak never changes.

    """

    name: str
    read_at: str
    rectified: bool
    never_negative: bool
    shape: tuple[int, int, int]
    peak: Singles
    image: Integers
    position: Integers
    mean: Doubles
    std: Doubles
    peak_mean: Doubles
    active_images: Doubles
    active_positions: Doubles
    selectivity: Doubles
    class_peaks: Doubles
    histogram: Integers
    similarity: Doubles

    @property
    def dead(self) -> Booleans:
        """[C], whether the channel was zero everywhere in every image.

        Only where no value is below zero is that the same as never to be active.
        """
        dead: Booleans = (self.active_images == 0) & self.never_negative
        return dead


class Scan:
    """The strongest activations and the statistics of every channel of every convolutional layer.

    Args:
        tally: what was counted.

    """

    def __init__(self, tally: Tally) -> None:
        self.tally = tally

    def __repr__(self) -> str:
        """Return the network, the data set and their sizes."""
        units = sum(layer["shape"][0] for layer in self.tally.facts["layers"])
        return f"Scan({self.network!r}, {units} channels over {self.images} images)"

    @property
    def network(self) -> str:
        """The network's name."""
        return str(self.tally.facts["network"])

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the labels; none where the images have no labels."""
        return tuple(self.tally.facts["classes"]) if self.tally.class_images.any() else ()

    @property
    def images(self) -> int:
        """The number of images counted."""
        return self.tally.images

    @property
    def bad(self) -> dict[int, str]:
        """The images left out: number -> why."""
        return self.tally.bad

    @property
    def notes(self) -> tuple[str, ...]:
        """What must be said of the images counted."""
        count, classes = self.tally.other_labels, len(self.tally.facts["classes"])
        if not count or not classes:
            return ()
        return (
            f"{count:,} of {self.images:,} images have a label that is none of the {classes:,} "
            f"classes, and count as without one",
        )

    @cached_property
    def layers(self) -> dict[str, LayerScan]:
        """The convolutional layers by name, in the order they run."""
        return {
            facts["name"]: _layer_scan(facts, self.tally.layers[facts["name"]], self.tally)
            for facts in self.tally.facts["layers"]
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to one safetensors file, which :meth:`load` reads.

        Raises:
            OutputError: if it cannot be written.

        """
        self.tally.save(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Scan:
        """Read what :meth:`save` wrote.

        Raises:
            DataError: if it is missing or something else.

        """
        return cls(Tally.load(path))


def _layer_scan(facts: dict[str, Any], tally: LayerTally, whole: Tally) -> LayerScan:
    channels, height, width = facts["shape"]
    images = max(whole.images, 1)
    positions = images * height * width
    class_peaks = _class_means(tally.class_peaks, whole.class_images)
    strongest, place = tally.strongest, tally.strongest.position
    tally.complete()
    return LayerScan(
        name=facts["name"],
        read_at=facts["read_at"],
        rectified=facts["rectified"],
        never_negative=facts["never_negative"],
        shape=(channels, height, width),
        peak=np.where(strongest.image >= 0, strongest.peak, np.float32(0)),
        image=strongest.image,
        position=np.stack([place // width, place % width], axis=-1),
        mean=tally.values.mean.numpy(),
        std=tally.values.variance.sqrt().numpy(),
        peak_mean=tally.peaks.first.mean.numpy(),
        active_images=tally.active_images / images,
        active_positions=tally.active_positions / positions,
        selectivity=class_selectivity(class_peaks),
        class_peaks=class_peaks.T,
        histogram=tally.histogram,
        similarity=tally.peaks.correlation().nan_to_num_(0.0).numpy(),
    )


def _class_means(sums: Doubles, class_images: Integers) -> Doubles:
    """Return means [K, C] over each class's images, NaN where it has none."""
    means = np.full(sums.shape, np.nan)
    seen = class_images > 0
    means[seen] = sums[seen] / class_images[seen, None]
    return means


def class_selectivity(class_means: Doubles) -> Doubles:
    """Return the class selectivity index of each channel (Morcos et al. 2018, arXiv 1803.06959).

    ``(most - rest) / (most + rest)``, with the mean activity of the class that drives the channel
    most, and the mean over all other classes: 0 if all classes drive it alike, 1 if one alone does.

    Args:
        class_means: [K, C], the mean activity in each class, none below zero; NaN for classes
            without images.

    Returns:
        [C], 0..1; NaN where fewer than two classes have images, or none drives the channel.

    >>> class_selectivity(np.array([[3.0, 1.0], [1.0, 1.0], [0.0, 1.0]])).round(3)
    array([0.714, 0.   ])

    """
    means = class_means[~np.isnan(class_means).any(axis=1)]
    if len(means) < 2:
        return np.full(class_means.shape[1], np.nan)
    most = means.max(axis=0)
    rest = (means.sum(axis=0) - most) / (len(means) - 1)
    both = most + rest
    index = np.full(len(both), np.nan)
    np.divide(most - rest, both, out=index, where=both > 0)
    # The difference of sums may fall a rounding below zero where all classes are alike.
    clipped: Doubles = np.clip(index, 0, 1)
    return clipped


def bin_name(number: int) -> tuple[float, float]:
    """Return the lower and the upper edge of a bin of the histogram.

    >>> bin_name(130)[0] == 2.0**-16
    True
    """
    edges = bin_edges()
    low = float(edges[number - 1]) if number else float("-inf")
    return low, float(edges[number]) if number < len(edges) else float("inf")
