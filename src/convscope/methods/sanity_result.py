"""Sanity: whether pictures of what drives a unit depend on the network, the unit and the image."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from convscope.images import Preprocess
from convscope.results import Result
from convscope.wording import counted

MEASURES = ("rank correlation", "signed rank correlation", "SSIM", "signed SSIM")
"""How alike two projections are: Spearman's rank correlation and the structural similarity, of
|projection| summed over the colours, and of the projection summed over the colours."""

ALL_RANDOM, ONE_RANDOM, SIGNAL = "all layers random", "its layer random", "random signal"
"""What columns of pictures are called: those whose weights are all random, and the signal."""

WORDS = ((0.8, "hardly depends"), (0.5, "depends only in part"), (0.2, "mostly depends"))
"""What is said of a picture that keeps this rank correlation of |projection| or more."""


@dataclass(frozen=True, eq=False, repr=False)
class Sanity(Result):
    """How like itself a projection stays when what it claims to show is taken away.

    All tensors lie on the CPU. R stands for the rules, M for :data:`MEASURES`, S for the seeds, T
    for the layers with weights. A similarity is 1 for equal pictures and around 0 for unrelated
    ones; it is NaN where nothing arrived at the pixels, where a picture is smaller than the window
    of SSIM, and where the work was stopped before.

    Attributes:
        image: [C, H, W], the image, in the network's input space.
        randomised: [R, M, S, T], float64: the similarity to the original with the layers from the
            top down to this one re-initialised.
        silent: [R, S, T], bool: whether nothing arrived at the pixels.
        units: [R, M, K], float64: the similarity to the projections of other units of the layer.
        signals: [R, M, P], float64: the same for random positive signals at the whole layer.
        edges: [R, 2], float64: the rank correlation and the SSIM of |projection| with the steepness
            of the image (Sobel).
        edges_randomised: [R, 2, S], float64: the same with all layers re-initialised.
        switches: [R, M], float64: the similarity to the projection with the pooling switches of
            another image; all NaN where the network has no max pool.
        chance: [R, M], float64: the similarity to pictures of the projection's own support and
            envelope that are otherwise unrelated to it: what is no more alike is as good as new.
        pictures: [R, columns, C, H, W]: projections in the network's input space, of the first
            seed where weights are random; cut to what the unit reads.
        columns: what each of the pictures is.
        edge_map: [H, W], float64: the image's steepness, cut alike.
        layers: names of the layers that are re-initialised, the topmost first.
        rules: names of the rules.
        start: the layer where the signal starts.
        channel: its channel.
        position: row and column of the unit; None where the signal starts at the whole channel.
        class_name: what the channel stands for, if it is a class's score.
        window: top, left, bottom, right of what the unit reads.
        init: how weights were drawn: ``"centred"``, ``"draw"`` or ``"permute"``.
        seeds: the seeds of the random weights.
        other_units: the channels that ``units`` compares with.
        other: whose switches those of ``switches`` are; None where the network has no max pool.
        network: the network's name.
        preprocess: takes inputs back to pixels.
        title: what the image is called.

    """

    image: Tensor
    randomised: Tensor
    silent: Tensor
    units: Tensor
    signals: Tensor
    edges: Tensor
    edges_randomised: Tensor
    switches: Tensor
    chance: Tensor
    pictures: Tensor
    edge_map: Tensor
    columns: tuple[str, ...]
    layers: tuple[str, ...]
    rules: tuple[str, ...]
    start: str
    channel: int
    position: tuple[int, int] | None
    class_name: str | None
    window: tuple[int, int, int, int]
    init: str
    seeds: tuple[int, ...]
    other_units: tuple[int, ...]
    other: str | None
    network: str
    preprocess: Preprocess
    title: str

    figure: ClassVar[str] = "sanity"
    tabular: ClassVar[bool] = True

    @property
    def unit(self) -> str:
        """What the projections are of, in words."""
        name = self.class_name or f"channel {self.channel}"
        place = (
            "" if self.position is None else f", row {self.position[0]}, column {self.position[1]}"
        )
        return f"{name}{place}, at {self.start}"

    def curve(self, rule: str, measure: str) -> tuple[Tensor, Tensor]:
        """Return the mean and the sample standard deviation over the seeds, [T] each.

        The deviation is NaN where there is one seed.
        """
        values = self.randomised[self.rules.index(rule), MEASURES.index(measure)]
        known = (~values.isnan()).sum(0)
        mean = values.nanmean(0)
        squares = ((values - mean) ** 2).nansum(0)
        return mean, torch.where(known > 1, squares / (known - 1).clamp(min=1), torch.nan).sqrt()

    def verdict(self, rule: str) -> str:
        """Return in one sentence what the pictures of a rule depend on, with the numbers.

        The numbers are rank correlations of |projection|: 1 is the same picture.
        """
        at = self.rules.index(rule)
        units, signals = (float(v[at, 0].nanmean()) for v in (self.units, self.signals))
        what = "class" if self.class_name else "unit"
        sentence = f"{rule}: the picture {self._of_weights(rule)}"
        if not math.isnan(units):
            sentence += (
                f", {self.depends(units, rule)} on the {what} asked for ({units:.2f} to "
                f"{len(self.other_units)} others, {signals:.2f} to random signals)"
            )
        switched = float(self.switches[at, 0])
        if self.other is not None and not math.isnan(switched):
            sentence += (
                f", {self.depends(switched, rule)} on the switches "
                f"({switched:.2f} with those of {self.other})"
            )
        own, random = float(self.edges[at, 0]), float(self.edges_randomised[at, 0].nanmean())
        if not math.isnan(own):
            sentence += f"; it is like the image's edges by {own:.2f}"
            if not math.isnan(random):
                sentence += f", and with random weights by {random:.2f}"
        chance = float(self.chance[at, 0])
        if not math.isnan(chance):
            sentence += f". Unrelated pictures of its envelope are alike by {chance:.2f}"
        return f"{sentence}."

    def brief(self, rule: str) -> str:
        """Return :meth:`verdict` in few words, with the rank correlations alone."""
        at, what = self.rules.index(rule), "class" if self.class_name else "unit"
        left = float(self.curve(rule, MEASURES[0])[0][-1])
        kept = {"weights": left, what: float(self.units[at, 0].nanmean())}
        kept["switches"] = float(self.switches[at, 0])
        told = [
            f"{self.depends(value, rule)} on the {name} ({value:.2f})"
            for name, value in kept.items()
            if not math.isnan(value)
        ]
        chance = float(self.chance[at, 0])
        told += [] if math.isnan(chance) else [f"by chance {chance:.2f}"]
        return f"{rule}: {', '.join(told) or 'nothing could be compared'}"

    def depends(self, similarity: float, rule: str) -> str:
        """Return how much a picture depends on what was changed, in a word.

        A picture that is no more alike than chance makes it depends on it altogether.
        """
        if similarity <= float(self.chance[self.rules.index(rule), 0]):
            return "depends"
        return next((word for least, word in WORDS if similarity >= least), "depends")

    def _of_weights(self, rule: str) -> str:
        """Return the first part of the verdict: what is left with random weights."""
        at = self.rules.index(rule)
        means, deviations = self.curve(rule, MEASURES[0])
        left, spread = float(means[-1]), float(deviations[-1])
        if math.isnan(left):
            silent = bool(self.silent[at, :, -1].any())
            why = "nothing arrives at the pixels" if silent else "it was not computed"
            return f"cannot be compared with that of random weights ({why})"
        # A seed may be stopped halfway, and nothing may arrive with one and something with another.
        counts = (~self.randomised[at, 0].isnan()).sum(0).tolist()
        deviation = "" if math.isnan(spread) else f" ± {spread:.2f}"
        signed = float(self.curve(rule, MEASURES[1])[0][-1])
        upper, end = "", ";"
        middle = len(means) // 2 - 1
        if middle >= 0 and counts[middle]:
            upper = f"{float(means[middle]):.2f} left with the upper half of the layers random, "
            if counts[middle] != counts[-1]:
                upper, end = f"{upper}{counted(counts[middle], 'seed')}; ", ","
        layers = f"all {len(self.layers)}" if len(self.layers) > 1 else "its one layer"
        return (
            f"{self.depends(left, rule)} on the weights ({upper}{left:.2f}{deviation} with "
            f"{layers}, {signed:.2f} counting signs{end} {counted(counts[-1], 'seed')})"
        )

    def verdicts(self) -> dict[str, str]:
        """Return :meth:`verdict` of every rule."""
        return {rule: self.verdict(rule) for rule in self.rules}

    def table(self) -> list[dict[str, Any]]:
        """Return a row a rule, test, thing changed and seed: how alike the picture stays."""
        rows: list[dict[str, Any]] = []

        def add(rule: str, test: str, changed: str, seed: int | None, values: Tensor) -> None:
            alike = dict(zip(MEASURES, values.tolist(), strict=True))
            rows.append({"rule": rule, "test": test, "changed": changed, "seed": seed, **alike})

        for at, rule in enumerate(self.rules):
            for place, seed in enumerate(self.seeds):
                for stage, layer in enumerate(self.layers):
                    add(rule, "weights", layer, seed, self.randomised[at, :, place, stage])
            for place, channel in enumerate(self.other_units):
                add(rule, "unit", f"channel {channel}", None, self.units[at, :, place])
            for place in range(self.signals.shape[2]):
                add(rule, "signal", f"random {place}", None, self.signals[at, :, place])
            if self.other is not None:
                add(rule, "switches", self.other, None, self.switches[at])
            add(rule, "chance", "all but the envelope", None, self.chance[at])
        return rows

    def summary(self) -> str:
        """Return a sentence a rule on what its pictures depend on."""
        lines = [f"{self.title}: {self.unit}", *(f"  {text}" for text in self.verdicts().values())]
        return "\n".join([*lines, f"  partial: {self.notes[-1]}"] if self.partial else lines)

    def to_dict(self, **options: Any) -> dict[str, Any]:
        """Return all but the pictures, fit for JSON but for NaN."""
        found = super().to_dict()
        for name in ("image", "pictures", "edge_map"):
            found.pop(name)
        return {**found, "measures": MEASURES, "verdicts": self.verdicts()}
