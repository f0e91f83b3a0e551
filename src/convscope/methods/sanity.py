"""Sanity checks: whether a projection depends on what it claims to show."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convscope.arguments import check_seed
from convscope.errors import ConvscopeError, Interrupted, UnitError, check_known
from convscope.methods import budget as budgets
from convscope.methods import not_finite
from convscope.methods.chance import DRAWS, Chance, noise_like
from convscope.methods.pictures import read_one
from convscope.methods.projected_unit import ProjectedUnit, class_title, projected_unit
from convscope.methods.randomisation import INITIALISATIONS, Stage, randomised, stages_of
from convscope.methods.rules import chosen_rule, rule_notes
from convscope.methods.sanity_result import ALL_RANDOM, ONE_RANDOM, SIGNAL, Sanity
from convscope.methods.similarity import MEASURES, Prepared, edges, similarities
from convscope.methods.targets import AnyTarget
from convscope.network import Network
from convscope.network.graph import Graph
from convscope.network.layers import LayerName
from convscope.network.ops import AdaptiveMaxPool, MaxPool
from convscope.network.rules import RULES, Rule
from convscope.network.shield import shielded
from convscope.network.walk import Ascent, ascend, descend
from convscope.reading import Picture

REMEMBERS_ALL = RULES["guided"]
"""What a walk up remembers under this rule serves all that see no more of a rectifier."""

COLUMNS_RANDOM = 4
"""How many stages of the randomisation are kept as pictures."""

MIRRORED = "the image mirrored left to right"
NAN = float("nan")


@shielded
@budgets.holding
def sanity(
    net: Network,
    image: Tensor | Picture,
    target: AnyTarget | None = None,
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
    progress: budgets.Progress | None = None,
) -> Sanity:
    """Measure what a projection depends on: the weights, the unit, the switches, the image's edges.

    Four tests for each rule, each a similarity to the projection as it is:

    - the layers re-initialised one after the other from the top (Adebayo et al. 2018, sec. 3.1);
    - other units, and random positive signals, in place of the unit (Mahendran & Vedaldi 2016);
    - the edges of the image (Nie et al. 2018);
    - the pooling switches of another image (Springenberg et al. 2015). Only the switches are its;
      the masks of the rectifiers, under the rules that have any, stay those of the image.

    Beside each similarity stands what noise reaches: pictures of the support and the envelope of
    one of the two compared, with nothing else of it. Verdicts come from what exceeds that.

    The network is not touched: the random weights go into a copy.

    Args:
        net: the network.
        image: a picture file or a Pillow image, or [1, C, H, W] in the network's input space.
        target: a class, by number or name, whose score is projected; None for the most probable.
            The signal is one at the score where the last layer with weights makes it, at every
            position if that layer gives maps. It is the same whatever the weights, so that their
            change cannot turn the picture's sign. Also any other target that :func:`~.attribute`
            takes: the signal is then how it rises with the outputs, as the network is.
        layer: projects a unit of this layer instead of a target: one at the peak of its map.
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

    Raises:
        ImageError: if an image does not fit.
        DataError: if the network makes NaN or infinity of an image.
        UnitError: if there is no such target, layer or channel.
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
    check_known("init", init, INITIALISATIONS)
    if not chosen:
        raise ConvscopeError("no rule was named")
    for name, number in (("seeds", seeds), ("others", others)):
        if number < 1:
            raise ConvscopeError(f"the number of {name} must be at least 1, not {number}")
    check_seed(seed)
    net = net.fitting(image)
    checked, name = read_one(net, image, "tested", title)
    swapped, swapped_name = checked.flip(3), MIRRORED
    if other is not None:
        swapped, swapped_name = read_one(net, other, "tested")
    unit = projected_unit(net, checked, name, target, layer, channel)
    stages = stages_of(net.graph, *unit.steps)
    if not stages:
        raise UnitError(f"nothing below layer {unit.name(net)!r} of {net.name} was learned")
    work = _SanityWork(
        net, checked, swapped, name, unit, chosen, stages, budgets.parse_bytes(memory), progress,
        [seed + n for n in range(seeds)], init, others,
    )  # fmt: skip
    not_finite.refuse(net, swapped, work.pools, swapped_name)
    try:
        done = [work.fixed_tests(deadline), work.cascade(deadline)]
        partial = "" if all(done) else "budget"
    except KeyboardInterrupt:
        if not work.reached.any():
            raise
        found = work.result("interrupted", swapped_name)
        raise Interrupted("the sanity check was stopped", found) from None
    return work.result(partial, swapped_name)


class _Reference:
    """A picture that others are compared with, and noise like it.

    Args:
        pixels: [C, H, W].
        seed: of the noise.
    """

    def __init__(self, pixels: Tensor, seed: int) -> None:
        self.prepared = Prepared.of(pixels)
        generator = torch.Generator().manual_seed(seed)
        # Made once, for everything that is compared with the picture.
        self.noise = [Prepared.of(noise_like(pixels, generator)) for _ in range(DRAWS // 2)]

    def compared(self, pixels: Tensor, draws: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return how like this another picture is, [M], and would be if either were noise, [M, D].

        Args:
            pixels: [C, H, W].
            draws: D, an even number; one half with noise like this picture.
            seed: of the noise.
        """
        other = Prepared.of(pixels)
        found = similarities(self.prepared, other)
        if bool(found[0].isnan()):
            return found, torch.full((len(MEASURES), draws), NAN, dtype=torch.float64)
        generator = torch.Generator().manual_seed(seed)
        drawn = []
        for n in range(draws // 2):
            own = self.noise[(seed + n) % len(self.noise)]
            drawn.append(similarities(own, other))
            drawn.append(similarities(self.prepared, Prepared.of(noise_like(pixels, generator))))
        return found, torch.stack(drawn, 1)


class _Test:
    """The similarities of one test as they come in, and what noise reaches.

    Args:
        rules: how many there are.
        shape: of what is changed, such as seeds and layers.
        pooled: over how many of these a verdict takes the mean.
    """

    def __init__(self, rules: int, shape: tuple[int, ...], pooled: int) -> None:
        self.draws = 2 * -(-DRAWS // (2 * pooled))
        self.similarity = torch.full((rules, len(MEASURES), *shape), NAN, dtype=torch.float64)
        self.chance = self.similarity[..., None].repeat(*[1] * (2 + len(shape)), self.draws)
        self.done = 0

    def add(
        self, references: Sequence[_Reference], pictures: Sequence[Tensor], *place: int
    ) -> Tensor:
        """Compare a picture of each rule; return the first measure and its noise, [R, 2]."""
        self.done += 1
        told = []
        for row, (reference, pixels) in enumerate(zip(references, pictures, strict=True)):
            found, drawn = reference.compared(pixels, self.draws, self.done)
            self.similarity.movedim(1, -1)[(row, *place)] = found
            self.chance.movedim(1, -2)[(row, *place)] = drawn
            told.append(torch.stack([found[0], Chance(drawn).level[0]]))
        return torch.stack(told)


@dataclass
class _SanityWork:
    """The projections as they come in."""

    net: Network
    image: Tensor
    swapped: Tensor
    title: str
    unit: ProjectedUnit
    rules: list[Rule]
    stages: list[Stage]
    memory: int
    progress: budgets.Progress | None
    seeds: list[int]
    init: str
    others: int
    done: int = 0

    def __post_init__(self) -> None:
        graph, self.steps = self.net.graph, self.unit.steps
        self.shape = graph.steps[self.unit.start].shape
        drawn = np.random.default_rng(self.seeds[0]).permutation(self.shape[1])
        own = max(self.unit.channel, 0)
        self.channels = [int(c) for c in drawn if c != own][: self.others]
        top, left, bottom, right = self.unit.window
        steep = edges(self.net.preprocess.to_pixels(self.image[0]))
        self.edge_map = steep[top:bottom, left:right]
        self.pools = [
            index
            for index in graph.needed_for(self.steps)
            if isinstance(graph.steps[index].operation, MaxPool | AdaptiveMaxPool)
        ]
        seeds, layers, units = len(self.seeds), len(self.stages), len(self.channels)
        count = len(self.rules)
        self.total = count * (2 + 2 * self.others + seeds * layers)
        self.columns: dict[str, tuple[list[Tensor], Tensor]] = {}
        # The stages that are kept as pictures.
        self.shown = sorted(budgets.far_apart(layers)[:COLUMNS_RANDOM])
        # Which of the random networks the image was projected through so far.
        self.reached = torch.zeros(seeds, layers, dtype=torch.bool)
        self.tests = {
            "randomised": _Test(count, (seeds, layers), seeds),
            "units": _Test(count, (units,), max(1, units)),
            "signals": _Test(count, (self.others,), self.others),
            "switches": _Test(count, (), 1),
            "edges": _Test(count, (), 1),
            "edges_randomised": _Test(count, (seeds,), seeds),
        }

    def ascents(self, graph: Graph, image: Tensor) -> list[Ascent]:
        """Return the walk up for each rule; those that share no relevance go by the same."""
        up = cache(lambda rule: ascend(graph, image, self.steps, rule))
        own = [rule.composite is not None or rule.sees == "output" for rule in self.rules]
        return [
            up(rule if alone else REMEMBERS_ALL)
            for rule, alone in zip(self.rules, own, strict=True)
        ]

    def projections(self, ascents: Sequence[Ascent], signals: Mapping[int, Tensor]) -> list[Tensor]:
        """Return the projection under each rule, cut to what the unit reads, on the CPU.

        Relevance starts as the unit's own value, whose sign it goes by if the rule does: a score
        below zero must not turn the picture's sign, no more than other weights may.
        """
        top, left, bottom, right = self.unit.window
        limit = budgets.tensor_limit(self.memory, self.image.device)
        owner = torch.zeros(1, dtype=torch.int64, device=self.image.device)
        found = []
        for rule, ascent in zip(self.rules, ascents, strict=True):
            own = {step: signal.clone() for step, signal in signals.items()}
            if rule.composite is not None:
                for step, signal in own.items():
                    value = ascent.maps[step]
                    signal.mul_(value if rule.composite.follows_sign else value.abs())
            start = self.unit.start
            pixels = descend(ascent, start, own.pop(start), owner, rule, limit, more=own)
            found.append(pixels[0, :, top:bottom, left:right].cpu())
            self.done += 1
        if self.progress:
            self.progress(self.done, self.total)
        return found

    def fixed_tests(self, deadline: budgets.Deadline) -> bool:
        """Project the image as it is, other units, random signals, and with other switches.

        Returns:
            whether there was time for all units and signals.
        """
        graph, unit = self.net.graph, self.unit
        self.signals = unit.signals(self.image, self.shape, unit.channel)
        ascents = self.ascents(graph, self.image)
        originals = self.projections(ascents, self.signals)
        self.originals = [_Reference(pixels, self.seeds[0]) for pixels in originals]
        self.steep = [_Reference(self.edge_map[None], self.seeds[0])] * len(self.rules)
        self.columns["as it is"] = originals, torch.full((len(self.rules), 2), NAN)
        self.tests["edges"].add(self.steep, originals)
        first = (self.channels or [0])[0]
        name = f"channel {first}"
        if unit.class_name:
            name = "another target" if unit.slopes else class_title(self.net, first)
        generator = torch.Generator().manual_seed(self.seeds[0])

        def positive() -> dict[int, Tensor]:
            return {
                step: torch.rand(graph.steps[step].shape, generator=generator).to(self.image)
                for step in self.steps
            }

        # Each signal is made only when there is time for it.
        units = [
            partial(unit.signals, self.image, self.shape, channel) for channel in self.channels
        ]
        instead: list[tuple[str, str, Sequence[Callable[[], dict[int, Tensor]]]]] = [
            ("units", f"{name} instead", units), ("signals", SIGNAL, [positive] * self.others)
        ]  # fmt: skip
        for test, title, signals in instead:
            for place, signal in enumerate(signals):
                if place and deadline.passed:
                    break
                found = self.projections(ascents, signal())
                told = self.tests[test].add(self.originals, found, place)
                self.columns.setdefault(title, (found, told))
        if self.pools:
            mixed = [
                replace(own, saved={**own.saved, **{i: other.saved[i] for i in self.pools}})
                for own, other in zip(ascents, self.ascents(graph, self.swapped), strict=True)
            ]
            found = self.projections(mixed, self.signals)
            told = self.tests["switches"].add(self.originals, found)
            self.columns["other switches"] = found, told
        return all(self.tests[test].done == len(signals) for test, _, signals in instead)

    def cascade(self, deadline: budgets.Deadline) -> bool:
        """Randomise ever more layers; return whether all was done in time."""
        graph = self.net.graph
        for place, seed in enumerate(self.seeds):
            # Beyond the first answer, a seed that there is no time for need not be drawn.
            if place and deadline.passed:
                return False
            replaced = randomised(graph, self.stages, self.init, seed)
            for stage in budgets.far_apart(len(self.stages)):
                if self.reached.any() and deadline.passed:
                    return False
                constants = {k: v for own in replaced[: stage + 1] for k, v in own.items()}
                other = self.net.with_constants(constants).graph
                found = self.projections(self.ascents(other, self.image), self.signals)
                told = self.tests["randomised"].add(self.originals, found, place, stage)
                if not place and stage in self.shown:
                    self.columns[self._title(stage)] = found, told
                if stage == len(self.stages) - 1:
                    self.tests["edges_randomised"].add(self.steep, found, place)
                self.reached[place, stage] = True
        return True

    def _title(self, stage: int) -> str:
        if stage == len(self.stages) - 1:
            return ALL_RANDOM if stage else ONE_RANDOM
        name = self.stages[stage].name
        return f"down to {name}" if stage else f"{name} random"

    def result(self, partial: str, other: str) -> Sanity:
        told = (note for rule in self.rules for note in rule_notes(self.net, rule, self.steps))
        notes = list(dict.fromkeys([*self.net.notes, *told]))
        if partial:
            done, total = int(self.reached.sum()), self.reached.numel()
            notes.append(f"stopped early: {done} of {total} randomised networks")
        # The original, ever more layers random, then what else was changed.
        random = [self._title(stage) for stage in self.shown]
        first, *rest = [name for name in self.columns if name not in random]
        columns = [first, *(name for name in random if name in self.columns), *rest]
        tests = self.tests
        found: dict[str, Any] = {name: test.similarity for name, test in tests.items()}
        chance = {name: Chance(test.chance) for name, test in tests.items()}
        for name in ("units", "signals"):
            found[name] = found[name][..., : tests[name].done]
            chance[name] = Chance(chance[name].draws[:, :, : tests[name].done])
        return Sanity(
            image=self.image[0].cpu(),
            **found,
            chance=chance,
            silent=found["randomised"][:, 0].isnan() & self.reached,
            pictures=torch.stack([torch.stack(self.columns[name][0]) for name in columns], dim=1),
            alike=torch.stack([self.columns[name][1] for name in columns], dim=1),
            edge_map=self.edge_map,
            columns=tuple(columns),
            layers=tuple(stage.name for stage in self.stages),
            rules=tuple(rule.name for rule in self.rules),
            start=self.unit.name(self.net),
            channel=self.unit.channel,
            position=self.unit.place,
            class_name=self.unit.class_name,
            window=self.unit.window,
            init=self.init,
            seeds=tuple(self.seeds),
            other_units=tuple(self.channels[: tests["units"].done]),
            other=other if self.pools else None,
            network=self.net.name,
            preprocess=self.net.preprocess,
            title=self.title,
            partial=partial,
            notes=tuple(notes),
        )
