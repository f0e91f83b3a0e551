"""Sanity: whether pictures of what drives a unit depend on the network, the unit and the image."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from convscope.images import Preprocess
from convscope.methods.chance import Chance
from convscope.methods.similarity import MEASURES
from convscope.network.rules import HARDLY
from convscope.results import Result
from convscope.wording import counted

ALL_RANDOM, ONE_RANDOM, SIGNAL = "all layers random", "its layer random", "random signal"
"""What columns of pictures are called: those whose weights are all random, and the signal."""

WORDS = ((HARDLY, "hardly depends"), (0.5, "depends only in part"), (0.2, "mostly depends"))
"""What is said of a picture that keeps this share or more of itself; see :class:`Kept`."""


@dataclass(frozen=True)
class Kept:
    """What is left of a picture when something is changed, beyond what noise keeps of it.

    Attributes:
        similarity: the rank correlation of |projection| and of the projection with its signs, each
            a mean over what was changed.
        noise: what one in twenty draws of noise with the support and envelope of either picture
            exceeds, of each.
        effect: how much of the way from noise to the same picture each is; 0 where it does not
            exceed noise, NaN where nothing was compared.
    """

    similarity: tuple[float, float]
    noise: tuple[float, float]
    effect: tuple[float, float]

    @property
    def known(self) -> bool:
        """Whether anything was compared."""
        return not math.isnan(self.effect[0])

    @property
    def share(self) -> float:
        """The mean of both effects."""
        return sum(self.effect) / 2

    @property
    def word(self) -> str:
        """How far the picture depends on what was changed; empty where it may as well be noise."""
        if not self.known or not any(self.effect):
            return ""
        return next((word for least, word in WORDS if self.share >= least), "depends")

    @property
    def told(self) -> str:
        """The numbers in words."""
        places, signs = self.effect
        numbers = ", ".join(
            f"{name} {own:.2f}, noise up to {noise:.2f}"
            for name, own, noise in zip(
                ("alike", "signed"), self.similarity, self.noise, strict=True
            )
        )
        return f"{places:.0%} of its places and {signs:.0%} of its signs kept: {numbers}"


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
        edges: [R, M], float64: the similarity to the steepness of the image (Sobel).
        edges_randomised: [R, M, S], float64: the same with all layers re-initialised.
        switches: [R, M], float64: the similarity to the projection with the pooling switches of
            another image; all NaN where the network has no max pool.
        chance: for ``"randomised"``, ``"units"``, ``"signals"``, ``"switches"``, ``"edges"`` and
            ``"edges_randomised"`` what each of these similarities is if one of the two pictures is
            noise of its support and envelope; see :class:`~.chance.Chance`.
        pictures: [R, columns, C, H, W]: projections in the network's input space, of the first
            seed where weights are random; cut to what the unit reads.
        alike: [R, columns, 2], float64: the rank correlation of each with the picture as it is, by
            magnitude, and the level of noise.
        columns: what each of the pictures is.
        edge_map: [H, W], float64: the image's steepness, cut alike.
        layers: names of the layers that are re-initialised, the topmost first.
        rules: names of the rules.
        start: the layer where the signal starts.
        channel: its channel; -1 of a target that is no class.
        position: row and column of the unit; None where the signal starts at the whole channel.
        class_name: what the channel stands for, if it is a class's score, or the target's name.
        window: top, left, bottom, right of what the unit reads.
        init: how weights were drawn: ``"centred"``, ``"draw"`` or ``"permute"``.
        seeds: the seeds of the random weights.
        other_units: the channels that ``units`` compares with. A target that is no class's score is
            moved on to these, such as a difference to other classes.
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
    chance: dict[str, Chance]
    pictures: Tensor
    alike: Tensor
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
    seen_only: ClassVar[tuple[str, ...]] = ("image", "pictures", "edge_map")

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

    def noise(self, rule: str, measure: str) -> Tensor:
        """Return the level of noise, [T], of the similarity that :meth:`curve` is of."""
        draws = self.chance["randomised"].draws
        own = draws[self.rules.index(rule), MEASURES.index(measure)]
        return Chance(own.transpose(0, 1).flatten(1)).level

    def kept(self, rule: str, test: str, stage: int | None = None) -> Kept:
        """Return what a rule's picture keeps in one of the tests, as a mean over it.

        Args:
            rule: the rule.
            test: a key of ``chance``.
            stage: of ``"randomised"``, the number of the last layer that is random.
        """
        at = self.rules.index(rule)
        values, draws = getattr(self, test)[at, :2], self.chance[test].draws[at, :2]
        if stage is not None:
            values, draws = values[..., stage], draws[..., stage, :]
        if not values.numel():
            return Kept(*[(math.nan, math.nan)] * 3)
        chance = Chance(draws.reshape(2, -1))
        mean = values.reshape(2, -1).nanmean(1)
        effect = chance.effect(mean).where(chance.exceeded_by(mean) | mean.isnan(), 0.0)
        found = ((float(own[0]), float(own[1])) for own in (mean, chance.level, effect))
        return Kept(*found)

    def _tests(self, rule: str) -> list[tuple[str, Kept, str]]:
        """Return what is changed, what the picture keeps, and how it is changed, of every test."""
        last = len(self.layers) - 1
        seeds = [
            counted(
                int((~self.randomised[self.rules.index(rule), 0, :, stage].isnan()).sum()), "seed"
            )
            for stage in (last // 2, last)
        ]
        found = [
            (
                f"weights of the {f'upper {last // 2 + 1} layers' if last > 1 else 'top layer'}",
                self.kept(rule, "randomised", last // 2),
                seeds[0],
            )
        ] * (last > 0)
        layers = f"all {last + 1} layers" if last else "its one layer"
        found.append((f"weights of {layers}", self.kept(rule, "randomised", last), seeds[1]))
        what = "unit" if not self.class_name else "class" if self.channel >= 0 else "target"
        others = f"{len(self.other_units)} others"
        found.append((f"{what} asked for", self.kept(rule, "units"), others))
        found.append(("switches", self.kept(rule, "switches"), f"those of {self.other}"))
        return [(f"the {name}", kept, how) for name, kept, how in found if kept.known]

    def verdict(self, rule: str) -> str:
        """Return in a few clauses what the pictures of a rule depend on, with the numbers.

        They are rank correlations, 1 for the same picture, each with what noise of the same support
        and envelope reaches. What does not exceed that is no sign of anything.
        """
        at = self.rules.index(rule)
        clauses = [
            f"{kept.word} on {name} ({how}; {kept.told})"
            if kept.word
            else f"may or may not depend on {name} ({how}; {kept.told})"
            for name, kept, how in self._tests(rule)
        ]
        if not self.kept(rule, "randomised", len(self.layers) - 1).known:
            silent = bool(self.silent[at, :, -1].any())
            why = "nothing arrives at the pixels" if silent else "it was not computed"
            clauses.insert(0, f"cannot be compared with that of random weights ({why})")
        edges = self.kept(rule, "edges")
        if edges.known:
            random = float(self.edges_randomised[at, 0].nanmean())
            more, than = ("", "") if edges.effect[0] else ("no more ", " than noise")
            numbers = f"{edges.similarity[0]:.2f}, noise up to {edges.noise[0]:.2f}"
            clauses.append(
                f"is {more}like the image's edges{than} ({numbers}"
                f"{'' if math.isnan(random) else f', with random weights {random:.2f}'})"
            )
        return f"{rule}: the picture {'; '.join(clauses)}."

    def brief(self, rule: str) -> str:
        """Return :meth:`verdict` in few words, with the shares alone."""
        told = [
            f"{kept.word} on {name} ({kept.share:.0%} kept)"
            if kept.word
            else f"may or may not depend on {name} (no more than noise)"
            for name, kept, _ in self._tests(rule)
        ]
        return f"{rule}: {'; '.join(told) or 'nothing could be compared'}"

    def verdicts(self) -> dict[str, str]:
        """Return :meth:`verdict` of every rule."""
        return {rule: self.verdict(rule) for rule in self.rules}

    def table(self) -> list[dict[str, Any]]:
        """Return a row a rule, test, thing changed and seed: how alike the picture stays.

        Each similarity stands beside the level of noise, which one draw in twenty exceeds.
        """
        weights = [(layer, seed) for seed in self.seeds for layer in self.layers]
        changes: dict[str, list[tuple[str, int | None]]] = {
            "randomised": list(weights),
            "units": [(f"channel {channel}", None) for channel in self.other_units],
            "signals": [(f"random {place}", None) for place in range(self.signals.shape[2])],
            "switches": [] if self.other is None else [(self.other, None)],
            "edges": [("edges of the image instead", None)],
            "edges_randomised": [("edges, all layers random", seed) for seed in self.seeds],
        }
        rows = []
        for at, rule in enumerate(self.rules):
            for test, changed in changes.items():
                values = getattr(self, test)[at].reshape(len(MEASURES), -1).T.tolist()
                levels = self.chance[test].level[at].reshape(len(MEASURES), -1).T.tolist()
                for (what, seed), own, noise in zip(changed, values, levels, strict=False):
                    row = {"rule": rule, "test": test, "changed": what, "seed": seed}
                    row |= dict(zip(MEASURES, own, strict=True))
                    rows.append(
                        row | {f"{m}, noise": n for m, n in zip(MEASURES, noise, strict=True)}
                    )
        return rows

    def summary(self) -> str:
        """Return a sentence a rule on what its pictures depend on."""
        lines = [f"{self.title}: {self.unit}", *(f"  {text}" for text in self.verdicts().values())]
        return "\n".join([*lines, f"  partial: {self.notes[-1]}"] if self.partial else lines)

    def to_dict(self, **options: Any) -> dict[str, Any]:
        """Return all but the pictures, fit for JSON but for NaN."""
        noise = {
            test: {"mean": chance.mean.tolist(), "level": chance.level.tolist()}
            for test, chance in self.chance.items()
        }
        return {
            **super().to_dict(),
            "chance": noise,
            "measures": MEASURES,
            "verdicts": self.verdicts(),
        }
