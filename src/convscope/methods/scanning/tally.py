"""Tallies: all that a scan has counted so far, so that parts add up to the whole."""

import json
import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from convscope.errors import DataError
from convscope.methods.moments import Moments, PairMoments, pooled
from convscope.methods.scanning.answers import RightAnswers
from convscope.methods.scanning.reductions import LayerBatch, Singles
from convscope.methods.scanning.strongest import Booleans, Doubles, Integers, Strongest
from convscope.packing import load_tensors, plain_of, put_together, save_tensors, tensors_of

FORMAT = 5
PEAKS_TOGETHER = 64
"""Peaks of so many images are correlated at once: those of a few cost hardly less than those of
many, as each addition runs over all pairs of channels."""

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
        values: moments of the activations over positions and images.
        peaks: moments of the peaks over images, and of each two channels'...
        waiting: [N, C], peaks that are not in them yet.
        class_peaks: [K, C], sums of the peaks above zero over the images of each of K classes.
        active_images: [C], the images with an active unit.
        active_positions: [C], the positions with an active unit.
        histogram: [C, bins], how many images have such a peak; see :func:`bin_edges`.
    """

    strongest: Strongest
    values: Moments
    peaks: PairMoments
    waiting: Singles
    class_peaks: Doubles
    active_images: Integers
    active_positions: Integers
    histogram: Integers

    @classmethod
    def empty(cls, channels: int, top: int, classes: int, floor: float) -> "LayerTally":
        """Return a tally of no image; only peaks above *floor* will have an entry."""
        return cls(
            Strongest.none(channels, top, floor),
            Moments.none(channels),
            PairMoments.none(channels, channels),
            np.zeros((0, channels), dtype=np.float32),
            np.zeros((classes, channels)),
            np.zeros(channels, dtype=np.int64),
            np.zeros(channels, dtype=np.int64),
            np.zeros((channels, len(bin_edges()) + 1), dtype=np.int64),
        )

    def add(self, batch: LayerBatch, positions: int, images: Integers, labels: Integers) -> None:
        """Count images, [N], by their numbers in the data set, in maps of so many positions.

        The labels, [N], are their classes, below 0 for an image of none.
        """
        found = batch.reduced
        self.strongest.enter(found.peak, images, batch.entering, batch.places, batch.company)
        counts = torch.full((len(images),), positions)
        own = pooled(counts, found.mean, found.squares)
        self.values.merge(Moments(positions * len(images), *own))
        self._add_peaks(found.peak)
        # Added one by one, since classes come several times in a batch: `+=` would count each once.
        labelled = labels >= 0
        np.add.at(self.class_peaks, labels[labelled], np.maximum(found.peak[labelled], 0))
        self.active_images += (found.peak > 0).sum(axis=0)
        self.active_positions += found.active.sum(axis=0)

    def _add_peaks(self, peaks: Singles) -> None:
        bins = np.searchsorted(bin_edges(), peaks, side="right")
        np.add.at(self.histogram, (np.arange(len(self.histogram)), bins), 1)
        self.waiting = np.concatenate([self.waiting, peaks])
        if len(self.waiting) >= PEAKS_TOGETHER:
            self.complete()

    def complete(self) -> None:
        """Correlate the peaks that wait; what is counted later is added to other last digits."""
        waiting = torch.from_numpy(self.waiting)
        self.peaks.add(waiting, waiting)
        self.waiting = self.waiting[:0]

    def merge(self, other: "LayerTally") -> None:
        """Add what was counted of other images."""
        # What waits would be lost: sums are merged, and no single peaks.
        self.complete()
        other.complete()
        self.strongest.merge(other.strongest)
        self.values.merge(other.values)
        self.peaks.merge(other.peaks)
        for name in COUNTS:
            getattr(self, name).__iadd__(getattr(other, name))


COUNTS = ("class_peaks", "active_images", "active_positions", "histogram")


@dataclass
class Tally:
    """What was counted of all layers.

    Attributes:
        facts: what was scanned with what: two tallies can be added only where these are the same.
        layers: one a convolutional layer, by its name.
        looked_at: [images of the data set], whether the image was counted or found to be bad.
        class_images: [K], the images counted of each class.
        bad: image number -> why it was left out.
        other_labels: how many of the images counted have a label that is none of the classes...
        unlike_labels: ... or no whole number.
        answers: how the labelled ones are answered.
    """

    facts: dict[str, Any]
    layers: dict[str, LayerTally]
    looked_at: Booleans
    class_images: Integers
    answers: RightAnswers
    bad: dict[int, str] = field(default_factory=dict)
    other_labels: int = 0
    unlike_labels: int = 0

    @classmethod
    def empty(cls, facts: dict[str, Any]) -> "Tally":
        """Return a tally of no image."""
        classes, layers = len(facts["classes"]), {}
        for own in facts["layers"]:
            # A unit that is off is no strongest one; where values lie below zero none is off.
            floor = 0.0 if own["never_negative"] else float("-inf")
            layers[own["name"]] = LayerTally.empty(own["shape"][0], facts["top"], classes, floor)
        return cls(
            facts,
            layers,
            np.zeros(facts["data"]["images"], dtype=bool),
            np.zeros(classes, dtype=np.int64),
            RightAnswers.none(facts["answers"]),
        )

    @property
    def images(self) -> int:
        """The number of images counted."""
        return int(self.looked_at.sum()) - len(self.bad)

    def complete(self) -> None:
        """Count what waits for more of its kind: nothing more will come."""
        for layer in self.layers.values():
            layer.complete()

    def merge(self, other: "Tally") -> None:
        """Add what was counted alike of other images of the same data set."""
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
        self.answers.merge(other.answers)
        self.other_labels += other.other_labels
        self.unlike_labels += other.unlike_labels
        self.bad = dict(sorted({**self.bad, **other.bad}.items()))

    def check_same(self, facts: dict[str, Any]) -> None:
        """Refuse to go on with another network, data set or setting, naming what differs."""
        names = {**self.facts, **facts}
        different = [name for name in names if self.facts.get(name) != facts.get(name)]
        if different:
            raise DataError(
                f"the scan was made with another {' and '.join(different)}: only parts scanned "
                f"alike, of one data set by one network, make one scan"
            )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to one file."""
        header = json.dumps({"format": FORMAT, **plain_of(self)})
        save_tensors(path, tensors_of(self), {"tally": header})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Tally":
        """Read what :meth:`save` wrote, and refuse anything else."""
        try:
            tensors, facts = load_tensors(path)
            header = json.loads(facts["tally"])
            if header.pop("format") != FORMAT:
                raise DataError(f"{path} comes from another version of convscope")
            found: Tally = put_together(cls, header, tensors)
            return found
        except FileNotFoundError:
            raise DataError(f"there is no scan {path}") from None
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path} is not a saved scan: {error}") from error
