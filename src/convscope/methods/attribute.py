"""Attribution of a class's score: class activation maps, gradients along paths, any rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from convscope.arguments import check_seed
from convscope.errors import ConvscopeError, UnitError
from convscope.methods import budget
from convscope.methods.attribution import CAMS, Attribution, method_named
from convscope.methods.descents import images_at_once
from convscope.methods.pictures import Images, channel_names, read, with_answers
from convscope.methods.project import chosen_rule
from convscope.methods.targets import Target, answer_of, answers, class_numbers
from convscope.network import Network
from convscope.network.answer import Answer
from convscope.network.layers import LayerName
from convscope.network.rules import DEEPLIFT, RULES, Rule
from convscope.network.shield import shielded
from convscope.network.walk import Ascent, ascend, descend

Progress = Callable[[int, int], None]
"""Called with the classes done so far and the classes in all."""

SAME_SCALE = {"mode": "bilinear", "align_corners": False}
STEEPNESS = 1e-6
"""What keeps grad-cam++ from dividing by nothing, as in pytorch-grad-cam."""


@shielded
@budget.holding
def attribute(
    net: Network,
    images: Images,
    target: Target | Sequence[Target] | None = None,
    *,
    method: str = "grad-cam",
    layer: LayerName | None = None,
    baseline: Images | None = None,
    steps: int = 50,
    noise: float = 0.15,
    seed: int = 0,
    titles: Sequence[str] | None = None,
    memory: int | str = budget.DEFAULT,
    progress: Progress | None = None,
) -> Attribution:
    """Show what a class's score hangs on: places of a layer, or pixels.

    Args:
        net: the network, whose output is a row of scores.
        images: [N, C, H, W] in the network's input space, or picture files.
        target: classes, by number or name; None for each image's most probable one.
        method: a class activation map, ``"grad-cam"``, ``"grad-cam++"``, ``"hires-cam"``,
            ``"layer-cam"`` or ``"guided-grad-cam"``; a path, ``"integrated-gradients"``,
            ``"expected-gradients"``, ``"smoothgrad"``, or ``"deeplift"``; or one of
            :data:`convscope.network.rules.RULES`, which share the score itself out, or bring it
            down.
        layer: where a class activation map is made; by default the last feature maps.
        baseline: what the image is compared with: one image for paths and ``"deeplift"``, by
            default zeros in the network's input space, the mean colour; several for
            ``"expected-gradients"``, which has no default.
        steps: points on a path, or noisy images.
        noise: standard deviation of smoothgrad's noise, as a share of the image's range.
        seed: of the noise, and of what expected gradients draw.
        titles: one an image; by default the names of the files, or numbers.
        memory: bytes, or a text such as ``"2GB"``, for what the walks hold besides the result.
        progress: called with the classes done and the classes in all.

    Raises:
        UnitError: if there is no such class or layer, or the output is no row of scores.
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
    _check(method, layer, baseline, steps, seed)
    net = net.fitting(images)
    checked, names = read(net, images, titles)
    answer = answer_of(net)
    stop = 0
    if method in CAMS:
        stop = _last_maps(net, answer) if layer is None else net.step(layer)
        net.check_units(stop, maps_only=True)
    baselines = torch.zeros_like(checked[:1]) if baseline is None else read(net, baseline, None)[0]
    allowed = budget.parse_bytes(memory)
    work = _Work(net, method, answer, stop, baselines, steps, noise, target, allowed)
    parts = []
    for n, image in enumerate(checked):
        parts.append(work.of_image(image[None], torch.Generator().manual_seed(seed)))
        if progress:
            progress((n + 1) * len(parts[0].classes), len(checked) * len(parts[0].classes))
    return _attribution(work, parts, checked, names)


def _check(
    method: str, layer: LayerName | None, baseline: Images | None, steps: int, seed: int
) -> None:
    """Refuse options that mean nothing."""
    method_named(method)
    check_seed(seed)
    if steps < 1:
        raise ConvscopeError(f"the number of steps must be at least 1, not {steps}")
    if layer is not None and method not in CAMS:
        raise UnitError(f"{method} goes down to the pixels: leave the layer out")
    if method == "expected-gradients" and baseline is None:
        raise ConvscopeError("expected-gradients needs baselines: images as of the training data")


def _attribution(
    work: _Work, parts: Sequence[_Found], images: Tensor, names: Sequence[str]
) -> Attribution:
    """Return as one what was found in each image."""
    net, answer, stop = work.net, work.answer, work.stop
    scores, classes, pixels, expected = (
        torch.stack([getattr(part, name) for part in parts])
        for name in ("scores", "classes", "pixels", "expected")
    )
    height, width = net.input_shape[1:]
    units = [answer.step] * classes.shape[1]
    return Attribution(
        images=images,
        pixels=pixels,
        activation=scores.gather(1, classes.to(scores.device)),
        relative=torch.full_like(expected, torch.nan),
        position=torch.zeros(*classes.shape, 2, dtype=torch.int64),
        window=torch.tensor([0, 0, height, width]).expand(*classes.shape, 4).clone(),
        channels=classes,
        names=tuple(channel_names(net, units, row) for row in classes.tolist()),
        layers=(net.graph.steps[stop].name if stop else f"{answer.noun} score",) * classes.shape[1],
        receptive_fields=((height, width),) * classes.shape[1],
        rule=work.method,
        select="map",
        rank="",
        reference="",
        network=net.name,
        preprocess=net.preprocess,
        titles=with_answers(net, names, scores),
        notes=net.notes,
        maps=torch.stack([p.maps for p in parts if p.maps is not None]) if stop else None,
        expected=expected,
    )


def _last_maps(net: Network, answer: Answer) -> int:
    """Return the last step before the answer with feature maps of more than one place."""
    graph = net.graph
    for index in reversed(graph.needed_for([answer.step])):
        step = graph.steps[index]
        if graph.is_map(index) and step.operation.is_layer and step.shape[2:] != (1, 1):
            return graph.shown.get(index, index)
    raise UnitError(f"{net.name} has no feature maps to make a class activation map of")


@dataclass(frozen=True)
class _Found:
    """What was found in one image.

    Attributes:
        scores: of all classes.
        classes: [K], those asked for.
        pixels: [K, C, H, W].
        expected: [K], what these should add up to.
        maps: [K, h, w], of class activation maps.

    """

    scores: Tensor
    classes: Tensor
    pixels: Tensor
    expected: Tensor
    maps: Tensor | None = None


@dataclass(frozen=True)
class _Work:
    """One method on one network."""

    net: Network
    method: str
    answer: Answer
    stop: int
    baselines: Tensor
    steps: int
    noise: float
    target: Target | Sequence[Target] | None
    memory: int

    @cached_property
    def rule(self) -> Rule:
        """How the signal comes down."""
        if self.method in RULES:
            return chosen_rule(self.net, self.method)
        if self.method == "deeplift":
            return replace(DEEPLIFT, reference=self.baselines)
        return RULES["gradient"]

    def up(self, images: Tensor, rule: Rule) -> Ascent:
        return ascend(self.net.graph, images, [self.answer.step, self.stop], rule)

    def down(
        self, ascent: Ascent, classes: Tensor, owners: Tensor, rule: Rule, stop: int = 0
    ) -> Tensor:
        """Bring the score of a class down for each owner: one, or the score that is shared."""
        maps = ascent.maps[self.answer.step]
        signal = maps.new_zeros(len(owners), self.answer.count)
        signal[torch.arange(len(owners)), classes] = 1.0
        if rule.composite is not None:
            signal *= maps.reshape(-1, self.answer.count)[owners]
        limit = budget.tensor_limit(self.memory, maps)
        signal = signal.view(-1, *maps.shape[1:])
        return descend(ascent, self.answer.step, signal, owners, rule, limit, stop=stop)

    @cached_property
    def usual(self) -> Tensor:
        """The mean scores over the baselines, [all classes]."""
        return answers(self.net, self.baselines).reshape(len(self.baselines), -1).mean(0)

    def of_image(self, image: Tensor, generator: torch.Generator) -> _Found:
        """Return what the scores of the classes asked for hang on in an image."""
        walks = self.method in CAMS or self.method in RULES or self.method == "deeplift"
        ascent = self.up(image, self.rule) if walks else None
        rows = answers(self.net, image) if ascent is None else ascent.maps[self.answer.step]
        scores = rows.reshape(-1)
        chosen = class_numbers(self.net, self.target, int(self.answer.best(rows)))
        classes = torch.tensor([chosen] if isinstance(chosen, int) else chosen)
        owners = torch.zeros(len(classes), dtype=torch.int64, device=image.device)
        expected = scores.new_full((len(classes),), torch.nan)
        if ascent is None:
            pixels = image.new_zeros(len(classes), *image.shape[1:])
            for points, weights in self._points(image, generator):
                pixels += self._slopes(points, classes, weights)
            if self.method != "smoothgrad":
                expected = scores[classes] - self.usual[classes]
            return _Found(scores, classes, pixels, expected)
        if self.stop:
            maps = self._cams(ascent, classes, owners)
            pixels = functional.interpolate(maps[:, None], image.shape[2:], **SAME_SCALE)  # type: ignore[arg-type]
            if self.method == "guided-grad-cam":
                guided = RULES["guided"]
                pixels = pixels * self.down(self.up(image, guided), classes, owners, guided)
            return _Found(scores, classes, pixels, expected, maps)
        pixels = self.down(ascent, classes, owners, self.rule)
        if self.method == "deeplift":
            change = scores[classes] - self.usual[classes]
            return _Found(scores, classes, pixels * (image - self.baselines), change)
        shares = self.rule.composite is not None
        return _Found(scores, classes, pixels, scores[classes] if shares else expected)

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
        at_once = images_at_once(self.net.graph, [self.answer.step], image, self.memory)
        for begin in range(0, count, at_once):
            yield points[begin : begin + at_once], weights[begin : begin + at_once]

    def _slopes(self, points: Tensor, classes: Tensor, weights: Tensor) -> Tensor:
        """Return the weighed sum over points of the derivatives of each class, [K, C, H, W]."""
        ascent, owners = self.up(points, self.rule), torch.arange(len(points), device=points.device)
        return torch.stack([
            (self.down(ascent, own.expand(len(points)), owners, self.rule) * weights).sum(0)
            for own in classes
        ])  # fmt: skip

    def _cams(self, ascent: Ascent, classes: Tensor, owners: Tensor) -> Tensor:
        """Return the class activation map of each class, [K, h, w]."""
        values = ascent.maps[self.stop]
        slopes = self.down(ascent, classes, owners, self.rule, self.stop)
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
