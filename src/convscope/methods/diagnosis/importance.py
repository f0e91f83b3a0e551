"""How much each layer matters: the network's answers with the layer taken out."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from convscope.methods.diagnosis.finding import Finding, Thresholds
from convscope.methods.scanning.units import ScannedLayer
from convscope.methods.targets import answer_of
from convscope.network import Network
from convscope.network.blocks import narrow_steps
from convscope.network.visit import visit
from convscope.network.walk import anew, ascend, resume

KIND = "unneeded layer"


@dataclass(frozen=True)
class Fidelity:
    """How well a changed network does.

    Attributes:
        same: share of the images that it answers as the whole network does, 0..1.
        beyond_chance: the same, 0 for what always giving the commonest answer would reach.
        accuracy: share that it answers rightly; None without labels.
    """

    same: float
    beyond_chance: float
    accuracy: float | None


class WithoutLayers:
    """A classifier's answers to images [N, C, H, W], and what they become without one layer.

    The labels, [N], are -1 where there is none; *size* images run at once.
    """

    def __init__(
        self, net: Network, layers: list[ScannedLayer], images: Tensor, labels: Tensor, size: int
    ) -> None:
        self._net, self._images, self._labels = net, images, labels
        self._size = size if net.graph.batched else 1
        self._answer = answer_of(net)
        self._narrow = set(narrow_steps(net.graph))
        self._means, self._answers = self._clean(layers)
        counts = torch.bincount(self._answers)
        self.commonest = float(counts.max()) / len(images)
        self.accuracy = self._right(self._answers)

    def without(self, layer: ScannedLayer) -> Fidelity:
        """Return what becomes of the answers where the layer gives its mean maps."""
        mean = self._means[layer.step]
        # Where nothing goes around the layer, one image's answer is that to all.
        images = self._images if self.goes_around(layer) else self._images[:1]
        return self._with(layer, 0, lambda some: mean.expand(len(some), *mean.shape), images)

    def skipping(self, layer: ScannedLayer) -> Fidelity | None:
        """Return the same where the layer hands on what it reads; None if the shapes differ."""
        graph = self._net.graph
        source = graph.steps[layer.convolution].inputs[0]
        if graph.steps[source].shape != graph.steps[layer.step].shape:
            return None
        return self._with(layer, source, torch.clone, self._images)

    def goes_around(self, layer: ScannedLayer) -> bool:
        """Return whether anything reaches the output past the layer."""
        return layer.step not in self._narrow

    def _clean(self, layers: list[ScannedLayer]) -> tuple[dict[int, Tensor], Tensor]:
        sums: dict[int, Tensor] = {}
        answers: list[Tensor] = []
        output = self._answer.step

        def look(step: int, maps: Tensor) -> None:
            if step == output:
                answers.append(self._answer.decided(maps).cpu())
            if step in steps:
                sums[step] = sums.get(step, 0.0) + maps.double().sum(0)

        steps = {layer.step for layer in layers}
        for batch in torch.split(self._images, self._size):
            visit(self._net.graph, self._net.checked(batch), {*steps, output}, look)
        count = len(self._images)
        means = {step: (total / count).to(self._net.dtype) for step, total in sums.items()}
        return means, torch.cat(answers)

    def _with(
        self, layer: ScannedLayer, source: int, stand_in: Callable[[Tensor], Tensor], images: Tensor
    ) -> Fidelity:
        graph, answer = self._net.graph, self._answer
        decided = []
        _, others = anew(graph, [layer.step], [answer.step])
        for batch in torch.split(images, self._size):
            kept = ascend(graph, self._net.checked(batch), [source, *others]).maps
            changed = {layer.step: stand_in(kept[source])}
            decided.append(answer.decided(resume(graph, kept, changed, [answer.step])[answer.step]))
        found = torch.cat(decided).cpu().expand_as(self._answers)
        same = float((found == self._answers).double().mean())
        chance = self.commonest
        beyond = (same - chance) / (1 - chance) if chance < 1 else 0.0
        return Fidelity(same, beyond, self._right(found))

    def _right(self, answers: Tensor) -> float | None:
        known = self._labels >= 0
        if not known.any():
            return None
        return float((answers[known] == self._labels[known]).double().mean())


def too_few(images: int, thresholds: Thresholds) -> str | None:
    """Return what to list as left out where too few images were answered to call a layer unneeded.

    >>> too_few(3, Thresholds())
    'unneeded layers: so few images (3) show nothing; it takes 50'
    """
    if images >= thresholds.images:
        return None
    return f"unneeded layers: so few images ({images}) show nothing; it takes {thresholds.images:g}"


def find(
    layer: str, without: Fidelity | None, skipping: Fidelity | None, images: int,
    thresholds: Thresholds,
) -> list[Finding]:  # fmt: skip
    """Return what is to be said of a layer that can be taken out.

    *without* is None where nothing goes around the layer, so that every answer would be the same.
    """
    if images < thresholds.images:
        return []
    ways = (("its mean map", without), ("what it reads", skipping))
    for place, found in ways:
        if found is not None and found.beyond_chance >= thresholds.unneeded:
            evidence = (
                f"With {place} in its place the network answers {found.same:.1%} of {images:,} "
                f"images as before."
            )
            suggestion = "The network does without it: take it out and train on."
            return [Finding(KIND, layer, (), evidence, suggestion, 0.3 * found.beyond_chance)]
    return []
