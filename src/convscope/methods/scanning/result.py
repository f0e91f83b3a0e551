"""What a scan says of every channel, worked out from its tally."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from convscope.errors import DataError, OutputError
from convscope.methods import bad_images, budget
from convscope.methods.scanning.answers import SUSPECTS
from convscope.methods.scanning.reductions import Singles
from convscope.methods.scanning.sources import Images, class_notes, images_of
from convscope.methods.scanning.strongest import (
    COMPARED,
    Booleans,
    Doubles,
    Halves,
    Integers,
    consistency,
)
from convscope.methods.scanning.tally import LayerTally, Tally, bin_edges
from convscope.network import Network
from convscope.network.constants import weights_hash
from convscope.network.layers import LayerName
from convscope.results import Result
from convscope.wording import counted

if TYPE_CHECKING:
    from convscope.methods.plate import Plate

ATLAS = "atlas"
"""What a folder that holds one is marked as."""

STATISTICS = (
    "peak_mean", "mean", "std", "active_images", "active_positions", "selectivity", "consistency",
    "rise",
)  # fmt: skip
ARRAYS = ("peak", "image", "position", *STATISTICS, "class_peaks", "histogram", "similarity")


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
        company: [C, top, W], float16: what other channels do there; see :class:`.Strongest`.
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
    company: Halves
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

    @cached_property
    def consistency(self) -> Doubles:
        """[C], how alike the nine strongest entries are to the other channels, at most 1.

        See :func:`.strongest.consistency`; NaN where there are fewer than two.
        """
        return consistency(self.company, self.image, self.peak_mean)

    @property
    def rise(self) -> Doubles:
        """[C], the mean of the nine strongest peaks over peak_mean; NaN where that is not above."""
        there = self.image[:, :COMPARED] >= 0
        strongest = self.peak[:, :COMPARED].sum(axis=1) / np.maximum(there.sum(axis=1), 1)
        rise = np.full(len(strongest), np.nan)
        np.divide(strongest, self.peak_mean, out=rise, where=self.peak_mean > 0)
        return rise

    def top_class(self, channel: int, classes: Sequence[str]) -> str:
        """Return which of the *classes* drives a channel most, or nothing."""
        if not classes or not self.active_images[channel]:
            return ""
        return classes[int(np.nanargmax(self.class_peaks[channel]))]


@dataclass(frozen=True, eq=False, repr=False)
class Scan(Result):
    """The strongest activations and the statistics of every channel of some convolutional layers.

    Saved to a folder it is an atlas; its figure shows the strongest channels of one layer.

    Attributes:
        tally: what was counted.
        net: the network, and...
        source: ... the images, which pictures are drawn from; None where they are not at hand, as
            after :meth:`load` without them.
    """

    tally: Tally
    net: Network | None = None
    source: Images | None = None

    figure: ClassVar[str] = "scan"
    folder: ClassVar[str] = ATLAS
    # By its name, and only when it is called: what draws an atlas lies above the methods.
    writer: ClassVar[str] = "convscope.atlas.build:write_atlas"

    @classmethod
    def of(
        cls, tally: Tally, net: Network | None, source: Images | None, partial: str = ""
    ) -> "Scan":
        """Return the scan that counted *tally*, with the notes that its pictures need."""
        found = cls(tally, net, source, partial=partial)
        doubt = found.doubt()
        own = (*found.label_notes(), *((f"{doubt} {SUSPECTS}".removesuffix("."),) if doubt else ()))
        return replace(found, notes=(*tally.facts["notes"], *own))

    @property
    def network(self) -> str:
        """The network's name."""
        return str(self.tally.facts["network"])

    @property
    def data(self) -> str:
        """What the images are called."""
        return str(self.tally.facts["data"]["name"])

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the labels; none where the images have no labels."""
        return tuple(self.tally.facts["classes"]) if self.tally.class_images.any() else ()

    @property
    def images(self) -> int:
        """The number of images counted."""
        return self.tally.images

    @property
    def bad(self) -> dict[str, str]:
        """The images left out: image -> why."""
        return bad_images.titled(self.tally.bad, self.title)

    @property
    def accuracy(self) -> float | None:
        """Share of the labelled images that are answered rightly; None without labels."""
        return self.tally.answers.accuracy

    @cached_property
    def layers(self) -> dict[str, LayerScan]:
        """The convolutional layers by name, in the order they run."""
        return {
            facts["name"]: _layer_scan(facts, self.tally.layers[facts["name"]], self.tally)
            for facts in self.tally.facts["layers"]
        }

    def label_notes(self) -> tuple[str, ...]:
        """Return what must be said of the labels."""
        classes = len(self.tally.facts["classes"])
        unusable = {
            f"none of the {classes:,} classes": self.tally.other_labels,
            "not the number of one class": self.tally.unlike_labels,
        }
        told = [
            f"{count:,} of {self.images:,} images have a label that is {what}, and count as "
            f"without one"
            for what, count in unusable.items()
            if count and classes
        ]
        if self.net is not None and self.source is not None:
            told = [*class_notes(self.source, self.net), *told]
        return tuple(told)

    def doubt(self) -> str:
        """Return in words that the answers are hardly better than chance, where they should be."""
        random = any(note.startswith("random weights") for note in self.tally.facts["notes"])
        return "" if random else self.tally.answers.doubt()

    def title(self, number: int) -> str:
        """Return what an image is called."""
        return f"image {number}" if self.source is None else self.source.title(number)

    def check_weights(self, net: Network) -> None:
        """Refuse another network than that which was scanned.

        Raises:
            DataError: if it has other weights.
        """
        if self.tally.facts["weights"] != weights_hash(net):
            raise DataError(f"the scan is of other weights than {net.name}'s")

    def with_pictures(self) -> tuple[Network, Images]:
        """Return the network and the images, for what draws from them.

        Raises:
            OutputError: if they are not at hand.
        """
        if self.net is None or self.source is None:
            raise OutputError(
                "the pictures of a scan are drawn from its network and images: "
                "cs.Scan.load(path, net, images)"
            )
        return self.net, self.source

    @budget.holding
    def plate(
        self,
        layer: LayerName | Sequence[LayerName] | None = None,
        channels: Sequence[int] | Mapping[str, Sequence[int]] | None = None,
        *,
        count: int = 6,
        choose: str = "consistent",
        seed: int = 0,
        rule: str = "deconvnet",
        memory: int | str = budget.DEFAULT,
    ) -> "Plate":
        """Draw channels of several layers, each as its strongest patches beside its projections.

        Args:
            layer: a convolution, or what its units are read at; several in a list; None for the
                last one of each size of maps, at most six.
            channels: which, of the one layer named; or of each of several, by its name; None to
                choose.
            count: how many channels of a layer to choose.
            choose: ``"consistent"`` takes those whose strongest entries are most alike to the
                layer's other channels, times how far they stand above the typical peak
                (:attr:`LayerScan.consistency` times :attr:`LayerScan.rise`), those last that share
                more than three of their nine images with one before; ``"random"`` any that are
                ever active.
            seed: of a random choice.
            rule: a name in :data:`convscope.network.rules.RULES`.
            memory: bytes, or a text such as ``"2GB"``, for the walks.

        Raises:
            OutputError: if the network and images are not at hand.
            RuleError: if the rule does not exist, or means nothing here.
            UnitError: if there is no such layer or channel, or nothing to choose from.
        """
        # By its name, and only now: plates are made of scans.
        plate = import_module("convscope.methods.plate")
        found: Plate = plate.drawn(self, layer, channels, count, choose, seed, rule, memory)
        return found

    def arrays(self) -> dict[str, Tensor]:
        """Return the numbers as ``LAYER/NAME``; docs/scan.md lists them."""
        arrays: dict[str, npt.NDArray[Any]] = {"bin_edges": bin_edges()}
        for layer in self.layers.values():
            own = {name: getattr(layer, name) for name in ARRAYS}
            own["similarity"] = own["similarity"].astype(np.float32)
            arrays |= {f"{layer.name}/{key}": np.ascontiguousarray(v) for key, v in own.items()}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def facts(self) -> dict[str, Any]:
        """Return what was scanned with what, fit for JSON."""
        return {
            **self.tally.facts,
            "notes": self.notes,
            "partial": self.partial,
            "made_with": self.made_with,
            "images": self.images,
            "bad": self.bad,
            "accuracy": self.accuracy,
        }

    def to_dict(self, **options: Any) -> dict[str, Any]:
        """Return what was scanned and the layers, with the rows of :meth:`table` as ``units``."""
        layers = [
            {"layer": layer.name, "channels": layer.shape[0], "dead": int(layer.dead.sum())}
            for layer in self.layers.values()
        ]
        return {**self.facts(), "layers": layers, "units": self.table()}

    def table(self) -> list[dict[str, Any]]:
        """Return a row a channel: its statistics, NaN where there is none."""
        return [
            {
                "layer": layer.name,
                "read_at": layer.read_at,
                "channel": channel,
                "dead": bool(layer.dead[channel]),
                "strongest": float(layer.peak[channel, 0]),
                **{name: float(getattr(layer, name)[channel]) for name in STATISTICS},
                "top_class": layer.top_class(channel, self.classes),
                "entries": int((layer.image[channel] >= 0).sum()),
            }
            for layer in self.layers.values()
            for channel in range(layer.shape[0])
        ]

    def summary(self) -> str:
        """Return what was scanned, how many channels are dead, and what was left out."""
        layers = list(self.layers.values())
        channels = sum(layer.shape[0] for layer in layers)
        dead = sum(int(layer.dead.sum()) for layer in layers)
        right = "" if self.accuracy is None else f"; {self.accuracy:.1%} answered rightly"
        lines = [
            f"{self.network}: {counted(channels, 'channel')} of {counted(len(layers), 'layer')} "
            f"over {counted(self.images, 'image')} of {self.data}; {dead:,} never active{right}"
        ]
        if self.partial:
            lines.append(f"partial: {self.partial}")
        lines += self.notes[len(self.tally.facts["notes"]) :]
        return "\n".join([*lines, *bad_images.told(self.bad.items())])

    def _save_arrays(self, path: Path) -> None:
        """Write the arrays; ``.safetensors`` holds all that was counted, to go on with."""
        if path.suffix.lower() == ".safetensors":
            self.tally.save(path)
        else:
            super()._save_arrays(path)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], net: Network | None = None, images: Any = None
    ) -> "Scan":
        """Read a scan that was saved as ``.safetensors``, or an atlas's ``scan.safetensors``.

        Args:
            path: the file.
            net: the network that was scanned with, for pictures.
            images: the images that were scanned, for pictures.

        Raises:
            DataError: if it is missing or something else.
        """
        source = None if net is None or images is None else images_of(images, net)
        return cls.of(Tally.load(path), net, source)


def _layer_scan(facts: dict[str, Any], tally: LayerTally, whole: Tally) -> LayerScan:
    channels, height, width = facts["shape"]
    images = max(whole.images, 1)
    positions = images * height * width
    class_peaks, seen = np.full(tally.class_peaks.shape, np.nan), whole.class_images > 0
    class_peaks[seen] = tally.class_peaks[seen] / whole.class_images[seen, None]
    strongest, place = tally.strongest, tally.strongest.position
    tally.complete()
    return LayerScan(
        **{**facts, "shape": (channels, height, width)},
        peak=np.where(strongest.image >= 0, strongest.peak, np.float32(0)),
        image=strongest.image,
        position=np.stack([place // width, place % width], axis=-1),
        company=strongest.company,
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
