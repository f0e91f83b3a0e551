"""Tallies: all that a scan has counted so far, exact, so that parts add up to the whole."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from convscope.errors import DataError, OutputError
from convscope.methods.scanning.exact_sums import ExactSums, Integers
from convscope.methods.scanning.level_sums import LevelSums
from convscope.methods.scanning.reductions import Reduced, Singles
from convscope.methods.scanning.strongest import Booleans, Strongest
from convscope.outputs import written_beside

FORMAT = 1

NO_CLASS = -1
"""Stands for the label of an image that has none."""

BINS_AN_OCTAVE = 4
OCTAVES = 16
"""Peaks from 2**-16 to 2**16, of either sign, have bins of their own; those beyond share two."""


def bin_edges() -> Singles:
    """Return the 258 edges of the histogram of peaks, which are the same for every network.

    Four bins an octave from 2**-16 to 2**16 and the same below zero. Bin ``i`` holds the peaks of
    at least ``edges[i - 1]`` and below ``edges[i]``; the middle one, 129, those around zero.
    """
    steps = np.arange(-OCTAVES * BINS_AN_OCTAVE, OCTAVES * BINS_AN_OCTAVE + 1)
    edges = np.exp2(steps / BINS_AN_OCTAVE).astype(np.float32)
    return np.concatenate([-edges[::-1], edges])


@dataclass
class LayerTally:
    """What was counted of one layer of C channels.

    Attributes:
        strongest: the strongest entries.
        totals: sums of the activations over positions and images.
        squares: the same of their squares.
        peaks: sums of the peaks over images.
        class_peaks: [K, C], sums of the peaks above zero over the images of each of K classes.
        active_images: [C], the images with an active unit.
        active_positions: [C], the positions with an active unit.
        histogram: [C, bins], how many images have such a peak; see :func:`bin_edges`.
        levels: how the channels' peaks go together.

    """

    strongest: Strongest
    totals: ExactSums
    squares: ExactSums
    peaks: ExactSums
    class_peaks: ExactSums
    active_images: Integers
    active_positions: Integers
    histogram: Integers
    levels: LevelSums

    @classmethod
    def empty(cls, channels: int, top: int, classes: int, scale: float) -> LayerTally:
        """Return a tally of no image."""
        return cls(
            Strongest.none(channels, top),
            ExactSums((channels,)),
            ExactSums((channels,)),
            ExactSums((channels,)),
            ExactSums((classes, channels)),
            np.zeros(channels, dtype=np.int64),
            np.zeros(channels, dtype=np.int64),
            np.zeros((channels, len(bin_edges()) + 1), dtype=np.int64),
            LevelSums.none(channels, scale),
        )

    def add(
        self,
        found: Reduced,
        images: Integers,
        labels: Integers,
        entering: Booleans,
        positions: Integers,
    ) -> None:
        """Count N images: what :meth:`.Reducer.reduce` found, and which have an entry, and where.

        Args:
            found: their numbers.
            images: [N], their numbers in the data set.
            labels: [N], their classes; -1 for an image of no class.
            entering: [N, C], from :meth:`.Strongest.entering`.
            positions: one a true value of *entering*.

        """
        self.strongest.enter(found.peak, images, entering, positions)
        self.totals.add(found.total)
        self.squares.add(found.squares)
        self.peaks.add(found.peak)
        labelled = labels != NO_CLASS
        if labelled.any():
            self.class_peaks.add_at(labels[labelled], np.maximum(found.peak[labelled], 0))
        self.active_images += (found.peak > 0).sum(axis=0)
        self.active_positions += found.active.sum(axis=0)
        self._count_bins(found.peak)
        self.levels.add(found.peak)

    def _count_bins(self, peaks: Singles) -> None:
        bins = np.searchsorted(bin_edges(), peaks, side="right")
        np.add.at(self.histogram, (np.arange(len(self.histogram)), bins), 1)

    def merge(self, other: LayerTally) -> None:
        """Add what was counted of other images."""
        self.strongest.merge(other.strongest)
        for name in (*SUMS, "levels"):
            getattr(self, name).merge(getattr(other, name))
        for name in COUNTS:
            getattr(self, name).__iadd__(getattr(other, name))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return everything as arrays by name, the same for the same images in any order."""
        arrays: dict[str, npt.NDArray[Any]] = {name: getattr(self, name) for name in COUNTS}
        arrays |= {f"strongest.{name}": getattr(self.strongest, name) for name in ENTRIES}
        arrays |= {"levels": self.levels.sums, "products": self.levels.products}
        for name in SUMS:
            digits = getattr(self, name).digits()
            arrays |= {f"{name}.{digit}": parts for digit, parts in digits.items()}
        return arrays

    @classmethod
    def from_arrays(
        cls, arrays: dict[str, npt.NDArray[Any]], classes: int, scale: float
    ) -> LayerTally:
        """Return what :meth:`arrays` gave."""
        channels, top = arrays["strongest.peak"].shape
        tally = cls.empty(channels, top, classes, scale)
        for name in COUNTS:
            setattr(tally, name, arrays[name])
        tally.levels = LevelSums(arrays["levels"], arrays["products"], scale)
        for name in ENTRIES:
            setattr(tally.strongest, name, arrays[f"strongest.{name}"])
        for name in SUMS:
            digits = {
                int(key.removeprefix(f"{name}.")): parts
                for key, parts in arrays.items()
                if key.startswith(f"{name}.")
            }
            setattr(tally, name, ExactSums.from_digits(getattr(tally, name).shape, digits))
        return tally


SUMS = ("totals", "squares", "peaks", "class_peaks")
COUNTS = ("active_images", "active_positions", "histogram")
ENTRIES = ("peak", "image", "position")


@dataclass
class Tally:
    """What was counted of all layers.

    Attributes:
        facts: what was scanned with what: two tallies can be added only where these are the same.
        layers: one a convolutional layer, by its name.
        looked_at: [images of the data set], whether the image was counted or found to be bad.
        class_images: [K], the images counted of each class.
        bad: image number -> why it was left out.
        other_labels: how many of the images counted have a label that is none of the classes.

    """

    facts: dict[str, Any]
    layers: dict[str, LayerTally]
    looked_at: Booleans
    class_images: Integers
    bad: dict[int, str] = field(default_factory=dict)
    other_labels: int = 0

    @classmethod
    def empty(cls, facts: dict[str, Any]) -> Tally:
        """Return a tally of no image."""
        classes = len(facts["classes"])
        return cls(
            facts,
            {
                layer["name"]: LayerTally.empty(
                    layer["shape"][0], facts["top"], classes, layer["scale"]
                )
                for layer in facts["layers"]
            },
            np.zeros(facts["data"]["images"], dtype=bool),
            np.zeros(classes, dtype=np.int64),
        )

    @property
    def images(self) -> int:
        """The number of images counted."""
        return int(self.looked_at.sum()) - len(self.bad)

    def merge(self, other: Tally) -> None:
        """Add what was counted of other images of the same data set.

        Raises:
            DataError: if the two were made of other things, or have images in common.

        """
        self.check_same(other.facts)
        if (self.looked_at & other.looked_at).any():
            number = int((self.looked_at & other.looked_at).argmax())
            raise DataError(
                f"the parts overlap: image {number} is in more than one, and would count twice"
            )
        for name, layer in self.layers.items():
            layer.merge(other.layers[name])
        self.looked_at |= other.looked_at
        self.class_images += other.class_images
        self.other_labels += other.other_labels
        self.bad = dict(sorted({**self.bad, **other.bad}.items()))

    def check_same(self, facts: dict[str, Any]) -> None:
        """Refuse to go on with another network, data set or setting.

        Raises:
            DataError: naming what differs.

        """
        names = {**self.facts, **facts}
        different = [name for name in names if self.facts.get(name) != facts.get(name)]
        if different:
            raise DataError(
                f"the scan was made with another {_words(different)}: only parts scanned alike, "
                f"of one data set by one network, make one scan"
            )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to one file.

        Raises:
            OutputError: if it cannot be written.

        """
        arrays = {
            f"{number}/{name}": np.ascontiguousarray(array)
            for number, layer in enumerate(self.layers.values())
            for name, array in layer.arrays().items()
        }
        arrays["looked_at"] = np.packbits(self.looked_at)
        arrays["class_images"] = self.class_images
        bad = {str(number): reason for number, reason in sorted(self.bad.items())}
        header = json.dumps(
            {"format": FORMAT, "facts": self.facts, "bad": bad, "other_labels": self.other_labels}
        )
        with written_beside(path) as beside:
            try:
                save_file(arrays, beside, {"tally": header})
            except SafetensorError as error:
                raise OutputError(f"cannot write {path}: {error}") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Tally:
        """Read what :meth:`save` wrote.

        Raises:
            DataError: if it is missing or something else.

        """
        try:
            with safe_open(Path(path), framework="np") as file:
                header = json.loads((file.metadata() or {})["tally"])
                # The file object is no mapping: keys() is the only way to its names.
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if header["format"] != FORMAT:
                raise DataError(f"{path} comes from another version of convscope")
            return cls._from(header, arrays)
        except FileNotFoundError:
            raise DataError(f"there is no scan {path}") from None
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise DataError(f"{path} is not a saved scan: {error}") from error

    @classmethod
    def _from(cls, header: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> Tally:
        facts = header["facts"]
        layers = {}
        for number, layer in enumerate(facts["layers"]):
            own = {
                name.removeprefix(f"{number}/"): array
                for name, array in arrays.items()
                if name.startswith(f"{number}/")
            }
            layers[layer["name"]] = LayerTally.from_arrays(
                own, len(facts["classes"]), layer["scale"]
            )
        images = facts["data"]["images"]
        looked_at = np.unpackbits(arrays["looked_at"], count=images).astype(bool)
        bad = {int(number): reason for number, reason in header["bad"].items()}
        # Older scans left such images out.
        other_labels = header.get("other_labels", 0)
        return cls(facts, layers, looked_at, arrays["class_images"], bad, other_labels)


def _words(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
