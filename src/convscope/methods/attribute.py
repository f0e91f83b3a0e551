"""Attribution of a class's score: class activation maps, gradients along paths, any rule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from convscope.arguments import check_seed
from convscope.errors import ConvscopeError, RuleError, UnitError, check_known
from convscope.methods import budget, not_finite
from convscope.methods.descents import images_at_once
from convscope.methods.pictures import Images, read, with_answers
from convscope.methods.projection import Projection
from convscope.methods.rules import chosen_rule, rule_notes
from convscope.methods.targets import AnyTarget, Goal, goals, readable, several
from convscope.network import Network
from convscope.network.blocks import feeds
from convscope.network.layers import LayerName
from convscope.network.ops.sharing import widened
from convscope.network.rules import DEEPLIFT, RULES, Rule
from convscope.network.shield import shielded
from convscope.network.walk import Ascent, ascend, descend

GRADIENT = RULES["gradient"]
SAME_SCALE = {"mode": "bilinear", "align_corners": False}
COMPARING = ("integrated-gradients", "expected-gradients", "deeplift")
"""Methods that compare the image with a baseline."""

STEEPNESS = 1e-6
"""What keeps grad-cam++ from dividing by nothing, as in pytorch-grad-cam."""


@dataclass(frozen=True)
class Method:
    """A way to see what a class's score hangs on.

    Attributes:
        name: the name used in calls and on the command line.
        source: where it was published.
        shows: what its pictures show, in words that follow its name.
        promise: what its pictures keep to, in words.
    """

    name: str
    source: str
    shows: str
    promise: str


_PLACES = "where in this image the layer speaks for the class: dark nowhere, yellow the most"
_PIXELS = "what each pixel adds to the class's score"
CAMS = {
    method.name: method
    for method in (
        Method("grad-cam", "Selvaraju et al. 2017, arXiv 1610.02391, sec. 3", _PLACES,
               "channels by the mean of their derivatives, what speaks against left out"),
        Method("grad-cam++", "Chattopadhay et al. 2018, arXiv 1710.11063, sec. 3", _PLACES,
               "the same, with derivatives weighed by their size"),
        Method("hires-cam", "Draelos & Carin 2020, arXiv 2011.08891, sec. 3", _PLACES,
               "adds up to the score, less biases, of a linear end; what speaks against left out"),
        Method("layer-cam", "Jiang et al. 2021, doi 10.1109/TIP.2021.3089943, sec. III", _PLACES,
               "derivatives place by place, the positive ones alone"),
        Method("guided-grad-cam", "Selvaraju et al. 2017, arXiv 1610.02391, sec. 3.2",
               "what drives the class where its layer speaks for it",
               "grad-cam times guided backpropagation"),
    )
}  # fmt: skip
PATHS = {
    method.name: method
    for method in (
        Method("integrated-gradients", "Sundararajan et al. 2017, arXiv 1703.01365, sec. 3",
               _PIXELS, "adds up to the score less that of the baseline"),
        Method("expected-gradients", "Erion et al. 2021, arXiv 1906.10670, sec. 2.1", _PIXELS,
               "adds up, on average, to the score less the baselines' mean score"),
        Method("smoothgrad", "Smilkov et al. 2017, arXiv 1706.03825, sec. 2",
               "how the class's score rises with each pixel, in noise", "nothing to add up"),
        Method("deeplift", DEEPLIFT.source, _PIXELS, DEEPLIFT.promise),
    )
}  # fmt: skip
METHODS = {
    **CAMS,
    **PATHS,
    **{
        name: Method(name, rule.source, rule.shows.replace("each unit", "the class's score", 1)
                     if rule.composite is None else "each pixel's share in the class's score",
                     rule.promise)
        for name, rule in RULES.items()
    },
}  # fmt: skip
"""All of them; those that are rules bring a class's score down as they do any unit."""


RECOMMENDED = "epsilon-plus"
"""What finds planted truths of classes best: docs/attribute.md."""


def method_named(name: str) -> Method:
    """Return the method called *name*, or refuse it with what is near."""
    check_known("method", name, METHODS, RuleError)
    return METHODS[name]


@dataclass(frozen=True, eq=False, repr=False)
class Attribution(Projection):
    """What each pixel has to do with the scores of classes, K of each image.

    It is a :class:`Projection` of the scores, whole images: its rule is the method's name, its
    activation the scores, its channels the classes, its layers where class activation maps were
    made. Its pixels have one channel where the method gives places and no colours.

    Attributes:
        maps: [N, K, h, w], what a class activation map is at its layer, before it was enlarged to
            the image; None of other methods.
        expected: [N, K], what the pixels should add up to, biases and rounding apart; NaN where
            the method promises no sum.
        baseline: what the image was compared with, in words; empty where with nothing.
    """

    maps: Tensor | None
    expected: Tensor
    baseline: str

    measure: ClassVar[str] = "score"

    @property
    def of_places(self) -> bool:  # type: ignore[override]
        """Whether it is a class activation map, which is drawn over the image."""
        return self.rule in CAMS and self.rule != "guided-grad-cam"

    @property
    def how(self) -> Any:
        """The method, with its name, its source, what it shows and what it keeps to."""
        return method_named(self.rule)

    @property
    def missing(self) -> Tensor:
        """By how much the pixels add up to less than they should, [N, K]: the completeness error.

        Of relevance it is what biases took.
        """
        return self.expected - self.pixels.sum((2, 3, 4))

    def cropped(self, n: int, k: int) -> Tensor:
        """Return class *k* of image *n*, [C, H, W]; one number a pixel where shares add up."""
        if self.rule in RULES:
            return super().cropped(n, k)
        own = self.pixels[n, k].cpu()
        signal = self.rule in ("smoothgrad", "guided-grad-cam")
        return self.preprocess.difference_to_pixels(own) if signal else own.sum(0, keepdim=True)

    def adds_up(self, n: int, k: int) -> str:
        """Return what the pixels of class *k* of image *n* add up to, and should, in words."""
        wanted = float(self.expected[n, k])
        if math.isnan(wanted):
            return ""
        return f"adds up to {float(self.pixels[n, k].sum()):.3g} of {wanted:.3g}"

    def table(self) -> list[dict[str, Any]]:
        """Return a row a class: image, class, its score, and what its pixels add up to."""
        sums = self.pixels.sum((2, 3, 4))
        return [
            {
                "image": title, "class": int(self.channels[n, k]), "name": self.names[n][k],
                "score": float(self.activation[n, k]), "sum": float(sums[n, k]),
                "expected": float(self.expected[n, k]), "missing": float(self.missing[n, k]),
            }
            for n, title in enumerate(self.titles)
            for k in range(len(self.layers))
        ]  # fmt: skip

    def summary(self) -> str:
        """Return a line a class."""
        lines = []
        for place, row in enumerate(self.table()):
            adds = self.adds_up(*divmod(place, len(self.layers)))
            line = f"{row['image']}  {row['name']}  score {row['score']:.4g}"
            lines.append("; ".join(filter(None, (line, adds))))
        return "\n".join(lines)


@shielded
@budget.holding
def attribute(
    net: Network,
    images: Images,
    target: AnyTarget | Sequence[AnyTarget] | None = None,
    *,
    method: str = RECOMMENDED,
    layer: LayerName | None = None,
    baseline: Images | None = None,
    steps: int = 50,
    noise: float = 0.15,
    seed: int = 0,
    titles: Sequence[str] | None = None,
    memory: int | str = budget.DEFAULT,
    progress: budget.Progress | None = None,
) -> Attribution:
    """Show what a class's score hangs on: places of a layer, or pixels.

    Args:
        net: the network.
        images: [N, C, H, W] in the network's input space, or picture files.
        target: classes, by number or name; None for each image's most probable one. Also a
            :class:`~convscope.Target`, such as a difference of two classes or a box of maps, its
            text as on the command line, or any function of the outputs.
        method: a class activation map, ``"grad-cam"``, ``"grad-cam++"``, ``"hires-cam"``,
            ``"layer-cam"`` or ``"guided-grad-cam"``; a path, ``"integrated-gradients"``,
            ``"expected-gradients"``, ``"smoothgrad"``, or ``"deeplift"``; or one of
            :data:`convscope.network.rules.RULES`, which share the score itself out, or bring it
            down; by default the one that found planted truths best.
        layer: where a class activation map is made; by default the last feature maps.
        baseline: what the image is compared with: one image for paths and ``"deeplift"``, by
            default zeros in the network's input space, the mean colour; several for
            ``"expected-gradients"``, which has no default.
        steps: points on a path, or noisy images.
        noise: standard deviation of smoothgrad's noise, as a share of the image's range.
        seed: of the noise, and of what expected gradients draw.
        titles: one an image; by default the names of the files, or numbers.
        memory: bytes, or a text such as ``"2GB"``, for what the walks hold besides the result.
        progress: called with the steps done, of every image, and the steps in all.

    Raises:
        UnitError: if there is no such target or layer.
        RuleError: if there is no such method, or it means nothing here.
        ImageError: if images do not fit.
        ConvscopeError: if another argument means nothing.

    >>> import torch
    >>> from torch import nn
    >>> head = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    >>> net = Network(nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), head), torch.zeros(1, 1, 2, 2))
    >>> a = attribute(net, torch.rand(1, 1, 2, 2), 1, method="integrated-gradients")
    >>> bool(a.missing.abs() < 1e-6)
    True
    """
    method_named(method)
    check_seed(seed)
    if steps < 1:
        raise ConvscopeError(f"the number of steps must be at least 1, not {steps}")
    if not 0 <= noise < math.inf:
        raise ConvscopeError(f"the noise is a share of the image's range, not {noise}")
    if layer is not None and method not in CAMS:
        raise UnitError(f"{method} goes down to the pixels: leave the layer out, or name grad-cam")
    if method == "deeplift" and any(map(callable, several(target) or [target])):
        raise RuleError("deeplift compares outputs, not what a function makes of them")
    if baseline is not None and method not in COMPARING:
        raise ConvscopeError(f"{method} takes no baseline: name {', '.join(COMPARING)}")
    if method == "expected-gradients" and baseline is None:
        raise ConvscopeError("expected-gradients needs baselines: images as of the training data")
    net = net.fitting(images)
    checked, names = read(net, images, titles)
    stop = 0
    if method in CAMS:
        stop = _last_maps(net) if layer is None else net.step(layer)
        net.check_units(stop, maps_only=True)
    baselines = torch.zeros_like(checked[:1]) if baseline is None else read(net, baseline, None)[0]
    if len(baselines) > 1 and method != "expected-gradients":
        raise ConvscopeError(f"{method} compares with one baseline, not {len(baselines)}")
    allowed = budget.parse_bytes(memory)
    parts: list[tuple[Any, ...]] = []

    def advance(done: int) -> None:
        if progress:
            progress(len(parts) * steps + done, len(checked) * steps)

    named = {"guided-grad-cam": "guided"}.get(method, method)
    rule = chosen_rule(net, named if named in RULES else "gradient")
    if method == "deeplift":
        rule = replace(DEEPLIFT, reference=baselines)
    work = _AttributionWork(
        net, method, rule, stop, baselines, steps, noise, target, allowed, advance
    )
    for image in checked:
        parts.append(work.of_image(image[None], torch.Generator().manual_seed(seed)))
        advance(0)
    return _gathered(work, checked, names, parts)


def _last_maps(net: Network) -> int:
    """Return the last step before the output with feature maps of more than one place."""
    graph, end = net.graph, net.graph.output if net.answer is None else net.answer.step
    for index in reversed(graph.needed_for([end])):
        step = graph.steps[index]
        maps = graph.is_map(index) and step.is_layer and step.shape[2:] != (1, 1)
        # Where the output is itself maps, it is those that it is made of by weights.
        if maps and (net.answer is not None or feeds(graph, index, end)):
            return graph.shown.get(index, index)
    raise UnitError(f"{net.name} has no feature maps to make a class activation map of")


@dataclass(frozen=True)
class _AttributionWork:
    """One method on one network."""

    net: Network
    method: str
    rule: Rule
    stop: int
    baselines: Tensor
    steps: int
    noise: float
    target: AnyTarget | Sequence[AnyTarget] | None
    memory: int
    advance: Callable[[int], None]

    @property
    def compared_with(self) -> str:
        """What the image is compared with, in words; empty where with nothing."""
        if self.method not in COMPARING:
            return ""
        if len(self.baselines) > 1:
            return f"{len(self.baselines)} images"
        return "one image" if self.baselines.any() else "zeros, the mean colour"

    def up(self, images: Tensor, rule: Rule | None) -> Ascent:
        return ascend(self.net.graph, images, [*readable(self.net), self.stop], rule)

    def down(self, ascent: Ascent, goal: Goal, rule: Rule, stop: int = 0) -> Tensor:
        """Bring a target down in each image: its derivatives, or what makes it up to be shared."""
        maps = ascent.maps
        signals = goal.slopes(maps)
        if rule.composite is not None:
            signals = {step: own * maps[step] for step, own in signals.items()}
        start = max(signals)
        owners = torch.arange(len(maps[start]), device=maps[start].device)
        limit, first = budget.tensor_limit(self.memory, maps[start].device), signals.pop(start)
        return descend(ascent, start, first, owners, rule, limit, stop=stop, more=signals)

    @cached_property
    def _usual(self) -> Ascent:
        return self.up(self.baselines, None)

    def _change(self, scores: Tensor, chosen: Sequence[Goal]) -> Tensor:
        """Return the scores, less their means over the baselines."""
        return scores - torch.stack([goal.values(self._usual.maps).mean() for goal in chosen])

    def of_image(
        self, image: Tensor, generator: torch.Generator
    ) -> tuple[list[Goal], Tensor, Tensor | None, Tensor, Tensor, Tensor | None]:
        """Return what the targets asked for hang on in an image.

        Returns:
            the K targets; [K], what each comes to; what ``net.answer`` reads, None where it reads
            nothing; the pixels, [K, C, H, W]; [K], what these should add up to; and the maps,
            [K, h, w], of class activation maps.
        """
        walks = self.method in CAMS or self.method in RULES or self.method == "deeplift"
        # A class activation map's own maps come down by the gradient.
        rule = GRADIENT if self.method in CAMS else self.rule
        ascent, answer = self.up(image, rule if walks else None), self.net.answer
        rows = None if answer is None else ascent.maps[answer.step]
        best = 0 if answer is None or rows is None else int(answer.best(rows))
        chosen = goals(self.net, self.target, best)
        scores = torch.cat([goal.values(ascent.maps) for goal in chosen])
        maps, expected = None, torch.full_like(scores, torch.nan)
        if not walks:
            pixels = image.new_zeros(len(chosen), *image.shape[1:])
            for points, weights in self._points(image, generator):
                own = self.up(points, self.rule)
                for place, goal in enumerate(chosen):
                    pixels[place] += (self.down(own, goal, self.rule) * weights).sum(0)
            if self.method != "smoothgrad":
                expected = self._change(scores, chosen)
        elif self.stop:
            maps = torch.cat([self._cam(ascent, goal) for goal in chosen])
            maps = maps.mT if self.net.graph.is_turned(self.stop) else maps  # as the image lies
            pixels = functional.interpolate(maps[:, None], image.shape[2:], **SAME_SCALE)  # type: ignore[arg-type]
            if self.method == "guided-grad-cam":
                own = self.up(image, self.rule)
                pixels = pixels * torch.cat([self.down(own, goal, self.rule) for goal in chosen])
        else:
            pixels = torch.cat([self.down(ascent, goal, self.rule) for goal in chosen])
            if self.method == "deeplift":
                pixels, expected = pixels * (image - self.baselines), self._change(scores, chosen)
            elif self.rule.composite is not None:
                expected = scores
        return chosen, scores, rows, pixels, expected, maps

    def _points(self, image: Tensor, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images whose derivatives count, as many as fit, and how much each counts."""
        count, shape = self.steps, image.shape[1:]
        one = [1] * len(shape)
        if self.method == "integrated-gradients":
            places, shares = np.polynomial.legendre.leggauss(count)
            along = torch.from_numpy((1 + places) / 2).to(image).view(-1, *one)
            away = image - self.baselines
            points = self.baselines + along * away
            weights = torch.from_numpy(shares / 2).to(image).view(-1, *one) * away
        elif self.method == "expected-gradients":
            chosen = torch.randint(len(self.baselines), (count,), generator=generator)
            along = torch.rand(count, generator=generator).to(image).view(-1, *one)
            away = image - self.baselines[chosen.to(image.device)]
            points, weights = image - (1 - along) * away, away / count
        else:
            spread = self.noise * (image.max() - image.min())
            points = image + spread * torch.randn(count, *shape, generator=generator).to(image)
            weights = torch.full_like(points, 1 / count)
        at_once = images_at_once(self.net.graph, readable(self.net), self.memory)
        for begin in range(0, count, at_once):
            yield points[begin : begin + at_once], weights[begin : begin + at_once]
            self.advance(min(begin + at_once, count))

    def _cam(self, ascent: Ascent, goal: Goal) -> Tensor:
        """Return the class activation map of a target, [1, h, w]."""
        # In half precision squares and cubes of slopes would be nothing, and STEEPNESS, too.
        values, slopes = map(
            widened, (ascent.maps[self.stop], self.down(ascent, goal, GRADIENT, self.stop))
        )
        if self.method == "hires-cam":
            weights = slopes
        elif self.method == "layer-cam":
            weights = slopes.clamp(min=0)
        elif self.method == "grad-cam++":
            total = values.sum((2, 3), keepdim=True)
            divisor = 2 * slopes**2 + total * slopes**3 + STEEPNESS
            weights = (slopes**2 / divisor * slopes.clamp(min=0)).sum((2, 3), keepdim=True)
        else:
            weights = slopes.mean((2, 3), keepdim=True)
        return (weights * values).sum(1).clamp(min=0)


def _gathered(
    work: _AttributionWork, images: Tensor, titles: Sequence[str], parts: Sequence[tuple[Any, ...]]
) -> Attribution:
    net = work.net
    chosen, scores, rows, pixels, expected, maps = zip(*parts, strict=True)
    activation = torch.stack(scores)
    classes = torch.tensor([[goal.channel for goal in own] for own in chosen])
    height, width = net.input_shape[1:]
    starts = sorted({step for own in chosen for goal in own for step in goal.steps})
    told: tuple[str, ...] = ()
    if not activation.isfinite().all():
        told = not_finite.notes(net, images, starts)
    # What is expected is not finite where the score of a baseline is not.
    if work.compared_with and not torch.stack(expected).isfinite().all():
        told += tuple(
            f"of the baseline, {note}: give another"
            for note in not_finite.notes(net, work.baselines, starts)
        )
    noun, count = "output" if net.answer is None else net.answer.noun, classes.shape[1]
    return Attribution(
        images=images,
        pixels=torch.stack(pixels),
        activation=activation,
        relative=torch.full_like(activation, torch.nan),
        position=torch.zeros(*classes.shape, 2, dtype=torch.int64),
        window=torch.tensor([0, 0, height, width]).expand(*classes.shape, 4).clone(),
        channels=classes,
        names=tuple(tuple(goal.name for goal in own) for own in chosen),
        layers=(net.graph.steps[work.stop].name if work.stop else f"{noun} score",) * count,
        receptive_fields=((height, width),) * count,
        rule=work.method,
        select="map",
        rank="",
        reference="",
        network=net.name,
        preprocess=net.preprocess,
        titles=with_answers(net, titles, None if net.answer is None else torch.cat(rows)),
        notes=(
            *net.notes,
            *rule_notes(net, work.rule, starts),
            *told,
        ),
        maps=torch.stack(maps) if work.stop else None,
        expected=torch.stack(expected),
        baseline=work.compared_with,
    )
