"""Sanity checks: whether a projection depends on what it claims to show."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from convscope.arguments import check_seed
from convscope.display import display_scale
from convscope.errors import ConvscopeError, ImageError, Interrupted, UnitError
from convscope.images import Picture
from convscope.methods import budget as budgets
from convscope.methods.chance import noise_like
from convscope.methods.pictures import read
from convscope.methods.project import LayerName, chosen_rule
from convscope.methods.projected_unit import ProjectedUnit, class_title, projected_unit
from convscope.methods.randomisation import (
    Stage,
    initialisation_named,
    randomised,
    stages_of,
)
from convscope.methods.sanity_result import ALL_RANDOM, MEASURES, ONE_RANDOM, SIGNAL, Sanity
from convscope.methods.similarity import (
    edges,
    rank_correlation,
    structural_similarity,
)
from convscope.methods.targets import Target
from convscope.network import Network
from convscope.network.graph import Graph
from convscope.network.ops import AdaptiveMaxPool, MaxPool
from convscope.network.rules import RULES, Rule
from convscope.network.shield import shielded
from convscope.network.walk import Ascent, ascend, descend

Progress = Callable[[int, int], None]
"""Called with the projections done so far and the projections in all."""

REMEMBERS_ALL = RULES["guided"]
"""What a walk up remembers under this rule is enough to come down under any."""

COLUMNS_RANDOM = 4
"""How many stages of the randomisation are kept as pictures."""

SHUFFLES = 8
"""Pictures of the projection's envelope that tell what chance makes."""

MIRRORED = "the image mirrored left to right"
NAN = float("nan")


@shielded
def sanity(
    net: Network,
    image: Tensor | Picture,
    target: Target | None = None,
    layer: LayerName | None = None,
    channel: int | None = None,
    *,
    rules: Sequence[str] = ("deconvnet", "guided", "gradient"),
    seeds: int = 3,
    seed: int = 0,
    init: str = "centred",
    others: int = 10,
    other: Tensor | Picture | None = None,
    title: str | None = None,
    memory: int | str = budgets.DEFAULT,
    budget: float | str | None = None,
    progress: Progress | None = None,
) -> Sanity:
    """Measure what a projection depends on: the weights, the unit, the switches, the image's edges.

    Four tests for each rule, each a similarity to the projection as it is:

    - the layers re-initialised one after the other from the top (Adebayo et al. 2018, sec. 3.1);
    - other units, and random positive signals, in place of the unit (Mahendran & Vedaldi 2016);
    - the edges of the image (Nie et al. 2018);
    - the pooling switches of another image (Springenberg et al. 2015). Only the switches are its;
      the masks of the rectifiers, under the rules that have any, stay those of the image.

    Beside each stands what chance makes of pictures that light up in the same places: how alike the
    projection is to ones of its own support and envelope, but shuffled within them.

    The network is not touched: the random weights go into a copy.

    Args:
        net: the network.
        image: a picture file or a Pillow image, or [1, C, H, W] in the network's input space.
        target: a class, by number or name, whose score is projected; None for the most probable.
            The signal is one at the score where the last layer with weights makes it, at every
            position if that layer gives maps. It is the same whatever the weights, so that their
            change cannot turn the picture's sign.
        layer: projects a unit of this layer instead of a class: one at the peak of its map.
        channel: that map; None for the one with the strongest activation.
        rules: which rules to test.
        seeds: how many times to draw random weights.
        seed: the first seed; the others follow it.
        init: how weights are drawn: ``"centred"``, normal values with each tensor's own standard
            deviation, and mean zero for kernels and matrices, as initialisers make them;
            ``"draw"``, with its own mean too; ``"permute"``, its own values in another order.
        others: how many other units, and random signals, to compare with.
        other: another image, whose switches are taken; None for the image mirrored.
        title: what the image is called; by default the file's name.
        memory: bytes, or a text such as ``"2GB"``, for the way down.
        budget: seconds after which to stop.
        progress: called with the projections done and the projections in all.

    Returns:
        the similarities and some of the pictures.

    Raises:
        ImageError: if an image does not fit.
        UnitError: if there is no such class, layer or channel.
        RuleError: if there is no such rule, or it means nothing here.
        ConvscopeError: if another argument means nothing.
        Interrupted: on Ctrl-C, with what was done by then as its ``result``.

    >>> import torch
    >>> from torch import nn
    >>> module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(392, 3))
    >>> image = torch.rand(1, 1, 16, 16)
    >>> s = sanity(Network(module, image), image, rules=["gradient"], seeds=2)
    >>> s.layers, s.start, tuple(s.randomised.shape)
    (('3', '0'), '3', (1, 4, 2, 2))

    """
    deadline = budgets.Deadline(budget)
    chosen = [chosen_rule(net, name) for name in rules]
    initialisation_named(init)
    if not chosen:
        raise ConvscopeError("no rule was named")
    for name, number in (("seeds", seeds), ("others", others)):
        if number < 1:
            raise ConvscopeError(f"the number of {name} must be at least 1, not {number}")
    check_seed(seed)
    net = net.fitting(image)
    checked, name = _single(net, image, title)
    swapped, swapped_name = checked.flip(3), MIRRORED
    if other is not None:
        swapped, swapped_name = _single(net, other, None)
    unit = projected_unit(net, checked, target, layer, channel)
    stages = stages_of(net.graph, unit.start)
    if not stages:
        raise UnitError(f"nothing below layer {unit.name(net)!r} of {net.name} was learned")
    work = _Work(net, checked, name, unit, chosen, stages, budgets.parse_bytes(memory), progress)
    seeded = [seed + n for n in range(seeds)]
    work.total = len(chosen) * (2 + 2 * others + seeds * len(stages))
    partial = ""
    try:
        tests = work.fixed_tests(seed, others, swapped, deadline)
        if not work.cascade(seeded, init, deadline) or tests.cut:
            partial = "budget"
    except KeyboardInterrupt:
        if not work.randomised:
            raise
        partial = "interrupted"
    found = _result(work, tests, seeded, init, partial, swapped_name if work.pools else None)
    if partial == "interrupted":
        raise Interrupted("the sanity check was stopped", found)
    return found


def _single(net: Network, image: Tensor | Picture, title: str | None) -> tuple[Tensor, str]:
    checked, (name, *more) = read(net, image, None if title is None else [title])
    if more:
        raise ImageError(f"one image at a time is tested, not {len(checked)}")
    return checked, name


@dataclass
class _Tests:
    """What does not take random weights."""

    units: Tensor
    signals: Tensor
    switches: Tensor
    other_units: tuple[int, ...]
    cut: bool


@dataclass
class _Work:
    """The projections as they come in."""

    net: Network
    image: Tensor
    title: str
    unit: ProjectedUnit
    rules: list[Rule]
    stages: list[Stage]
    memory: int
    progress: Progress | None
    total: int = 0
    done: int = 0
    originals: list[Tensor] = field(default_factory=list)
    columns: dict[str, list[Tensor]] = field(default_factory=dict)
    randomised: dict[tuple[int, int], list[Tensor]] = field(default_factory=dict)
    edges_randomised: dict[int, list[Tensor]] = field(default_factory=dict)

    @property
    def start(self) -> int:
        return self.unit.start

    def ascent(self, graph: Graph, image: Tensor) -> Ascent:
        return ascend(graph, image, [self.start], REMEMBERS_ALL)

    def signal(self, channel: int) -> Tensor:
        return self.unit.signal(self.image, self.net.graph.steps[self.start].shape, channel)

    def projections(self, graph: Graph, ascent: Ascent, signal: Tensor) -> list[Tensor]:
        """Return the projection under each rule, cut to what the unit reads, on the CPU."""
        top, left, bottom, right = self.unit.window
        limit = budgets.tensor_limit(self.memory, self.image)
        owner = torch.zeros(1, dtype=torch.int64, device=self.image.device)
        found = []
        for rule in self.rules:
            pixels = descend(graph, ascent, self.start, signal.clone(), owner, rule, limit)
            found.append(pixels[0, :, top:bottom, left:right].cpu())
            self.done += 1
        if self.progress:
            self.progress(self.done, self.total)
        return found

    def compared(self, found: list[Tensor]) -> Tensor:
        """Return the similarity of each projection to the original, [R, M]."""
        return torch.stack(
            [similarities(*pair) for pair in zip(self.originals, found, strict=True)]
        )

    def fixed_tests(
        self, seed: int, count: int, swapped: Tensor, deadline: budgets.Deadline
    ) -> _Tests:
        """Project the image as it is, other units, random signals, and with other switches."""
        graph = self.net.graph
        ascent = self.ascent(graph, self.image)
        self.originals = self.projections(graph, ascent, self.signal(self.unit.channel))
        self.columns["as it is"] = self.originals
        shape = graph.steps[self.start].shape
        drawn = np.random.default_rng(seed).permutation(shape[1])
        channels = [int(c) for c in drawn if c != self.unit.channel][:count]
        units: list[list[Tensor]] = []
        for c in channels:
            if units and deadline.passed:
                break
            units.append(self.projections(graph, ascent, self.signal(c)))
        generator = torch.Generator().manual_seed(seed)
        signals: list[list[Tensor]] = []
        while len(signals) < count and not (signals and deadline.passed):
            positive = torch.rand(shape, generator=generator).to(self.image)
            signals.append(self.projections(graph, ascent, positive))
        if units:
            other = channels[0]
            name = class_title(self.net, other) if self.unit.class_name else f"channel {other}"
            self.columns[f"{name} instead"] = units[0]
        self.columns[SIGNAL] = signals[0]
        switches = torch.full((len(self.rules), len(MEASURES)), NAN, dtype=torch.float64)
        if self.pools:
            saved = self.ascent(graph, swapped).saved
            mixed = {**ascent.saved, **{index: saved[index] for index in self.pools}}
            found = self.projections(
                graph, replace(ascent, saved=mixed), self.signal(self.unit.channel)
            )
            switches = self.compared(found)
            self.columns["other switches"] = found
        return _Tests(
            self._stacked([self.compared(one) for one in units]),
            self._stacked([self.compared(one) for one in signals]),
            switches,
            tuple(channels[: len(units)]),
            len(units) < len(channels) or len(signals) < count,
        )

    def _stacked(self, found: list[Tensor]) -> Tensor:
        empty = torch.empty(len(self.rules), len(MEASURES), 0, dtype=torch.float64)
        return torch.stack(found, dim=2) if found else empty

    @property
    def pools(self) -> list[int]:
        graph = self.net.graph
        return [
            index
            for index in graph.needed_for([self.start])
            if isinstance(graph.steps[index].operation, MaxPool | AdaptiveMaxPool)
        ]

    @property
    def shown(self) -> list[int]:
        """The stages that are kept as pictures."""
        return sorted(budgets.far_apart(len(self.stages))[:COLUMNS_RANDOM])

    def cascade(self, seeds: list[int], init: str, deadline: budgets.Deadline) -> bool:
        """Randomise ever more layers; return whether all was done in time."""
        graph = self.net.graph
        signal = self.signal(self.unit.channel)
        for place, seed in enumerate(seeds):
            # Beyond the first answer, a seed that there is no time for need not be drawn.
            if place and deadline.passed:
                return False
            replaced = randomised(graph, self.stages, init, seed)
            for stage in budgets.far_apart(len(self.stages)):
                if self.randomised and deadline.passed:
                    return False
                constants = {k: v for own in replaced[: stage + 1] for k, v in own.items()}
                other = self.net.with_constants(constants).graph
                found = self.projections(other, self.ascent(other, self.image), signal)
                if not place and stage in self.shown:
                    self.columns[self._title(stage)] = found
                if stage == len(self.stages) - 1:
                    self.edges_randomised[place] = self.edge_similarities(found)
                self.randomised[place, stage] = [
                    similarities(*pair) for pair in zip(self.originals, found, strict=True)
                ]
        return True

    def _title(self, stage: int) -> str:
        if stage == len(self.stages) - 1:
            return ALL_RANDOM if stage else ONE_RANDOM
        return (
            f"{self.stages[stage].name} random"
            if not stage
            else (f"down to {self.stages[stage].name}")
        )

    @property
    def edge_map(self) -> Tensor:
        top, left, bottom, right = self.unit.window
        steep = edges(self.net.preprocess.to_pixels(self.image[0]))
        return steep[top:bottom, left:right]

    def edge_similarities(self, found: list[Tensor]) -> list[Tensor]:
        """Return the rank correlation and the SSIM of |projection| with the edges, one a rule."""
        steep = self.edge_map[None]
        return [similarities(steep, pixels)[[0, 2]] for pixels in found]


def similarities(one: Tensor, other: Tensor) -> Tensor:
    """Return how alike two projections are by each of :data:`MEASURES`, [M], float64.

    Args:
        one: [C, H, W]; it is summed over C, by magnitude or with its sign.
        other: [C', H, W], the same.

    Returns:
        the similarities; NaN where one of them is zero everywhere or not finite. For SSIM each is
        divided by its own 99.9 % quantile of |value| and clipped there, as it is shown.

    """
    found = torch.full((len(MEASURES),), NAN, dtype=torch.float64)
    pair = [pixels.detach().cpu().double() for pixels in (one, other)]
    if not all(bool(pixels.any()) and bool(pixels.isfinite().all()) for pixels in pair):
        return found
    for place, (maps, low) in enumerate(
        (([p.abs().sum(0) for p in pair], 0.0), ([p.sum(0) for p in pair], -1.0))
    ):
        found[place] = rank_correlation(*maps)
        limits = [display_scale(m).limit for m in maps]
        if min(limits) > 0:
            scaled = [(m / limit).clamp(low, 1) for m, limit in zip(maps, limits, strict=True)]
            found[2 + place] = structural_similarity(scaled[0], scaled[1], 1 - low)
    return found


def by_chance(pixels: Tensor) -> Tensor:
    """Return how alike a projection is to others of its support and envelope, [M], float64.

    Of several drawn, the most alike by each measure.
    """
    if not bool(pixels.any()) or not bool(pixels.isfinite().all()):
        return torch.full((len(MEASURES),), NAN, dtype=torch.float64)
    drawn = [
        similarities(pixels, noise_like(pixels, torch.Generator().manual_seed(seed)))
        for seed in range(SHUFFLES)
    ]
    return torch.stack(drawn).amax(0)


def _result(
    work: _Work,
    tests: _Tests,
    seeds: list[int],
    init: str,
    partial: str,
    other: str | None,
) -> Sanity:
    rules, layers = len(work.rules), len(work.stages)
    found = torch.full((rules, len(MEASURES), len(seeds), layers), NAN, dtype=torch.float64)
    silent = torch.zeros(rules, len(seeds), layers, dtype=torch.bool)
    for (place, stage), values in work.randomised.items():
        found[:, :, place, stage] = torch.stack(values)
        silent[:, place, stage] = found[:, 0, place, stage].isnan()
    random_edges = torch.full((rules, 2, len(seeds)), NAN, dtype=torch.float64)
    for place, values in work.edges_randomised.items():
        random_edges[:, :, place] = torch.stack(values)
    columns = _ordered(work)
    notes = list(work.net.notes)
    if partial:
        done = len(work.randomised)
        notes.append(f"stopped early: {done} of {len(seeds) * layers} randomised networks")
    return Sanity(
        image=work.image[0].cpu(),
        randomised=found,
        silent=silent,
        units=tests.units,
        signals=tests.signals,
        edges=torch.stack(work.edge_similarities(work.originals)),
        edges_randomised=random_edges,
        switches=tests.switches,
        chance=torch.stack([by_chance(pixels) for pixels in work.originals]),
        pictures=torch.stack([torch.stack(work.columns[name]) for name in columns], dim=1),
        edge_map=work.edge_map,
        columns=tuple(columns),
        layers=tuple(stage.name for stage in work.stages),
        rules=tuple(rule.name for rule in work.rules),
        start=work.unit.name(work.net),
        channel=work.unit.channel,
        position=work.unit.place,
        class_name=work.unit.class_name,
        window=work.unit.window,
        init=init,
        seeds=tuple(seeds),
        other_units=tests.other_units,
        other=other,
        network=work.net.name,
        preprocess=work.net.preprocess,
        title=work.title,
        partial=partial,
        notes=tuple(notes),
    )


def _ordered(work: _Work) -> list[str]:
    """Return the columns: the original, ever more layers random, then what else was changed."""
    random = [work._title(stage) for stage in work.shown]
    others = [name for name in work.columns if name not in random]
    return [others[0], *(name for name in random if name in work.columns), *others[1:]]
