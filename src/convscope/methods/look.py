"""A kept look: one image that went up a network, and questions answered from what was kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

from convscope.errors import ImageError
from convscope.methods import budget
from convscope.methods.kept import KeptWalk
from convscope.methods.occlude.passes import Question, WindowedPasses, filters_within, quantities
from convscope.methods.occlude.patches import (
    Cover,
    FillValue,
    Size,
    default_patch,
    fill_for,
    pair_of,
)
from convscope.methods.pictures import read_one
from convscope.methods.project import Request
from convscope.methods.projection import Projection
from convscope.network import Network
from convscope.network.channels import along_channels
from convscope.network.layers import LayerName
from convscope.network.shield import shielded
from convscope.network.walk import resume
from convscope.network.windows.winograd import TurnedFilters
from convscope.reading import Picture


@dataclass(frozen=True)
class Reading:
    """What a network says to an image.

    Attributes:
        predicted: the most probable class or label; None where the output is none.
        probability: [K], of each class or label; None where there is none.
        logit: [K]; None where there is none.
        number: [K], of an output of numbers; None where it is none.
        activation: the sum of the feature map that was asked for; None where none was.
    """

    predicted: int | None = None
    probability: Tensor | None = None
    logit: Tensor | None = None
    number: Tensor | None = None
    activation: float | None = None


class Look:
    """One image's walk up a network, kept, and what can be asked of it.

    Make one by :func:`look`. Feature maps, projections and patches are answered from the maps and
    switches that were kept, so that a projection costs its way down alone, and a patch only what
    it touches.

    Attributes:
        net: the network.
        image: [C, H, W], in its input space.
        title: what the image is called.
    """

    def __init__(
        self,
        net: Network,
        image: Tensor,
        title: str,
        memory: int,
        turned: TurnedFilters | None = None,
    ) -> None:
        self.net, self.image, self.title, self.memory = net, image[0], title, memory
        self._turned = turned or filters_within(memory)
        self._passes: dict[tuple[int | None, int], WindowedPasses] = {}
        self._checked = self._differs = False

    def __repr__(self) -> str:
        """Return the network's name and the image's."""
        return f"Look({self.net.name!r}, {self.title!r})"

    @cached_property
    def _walk(self) -> KeptWalk:
        graph = self.net.graph
        shown = [self.net.step(name) for name in self.net.layers]
        return KeptWalk(self.net, self.image[None], graph.needed_for([graph.output, *shown]))

    @property
    def output(self) -> Tensor:
        """What the network gives, [1, ...]."""
        return self._walk.maps[self.net.graph.output]

    @shielded
    def maps(self, layer: LayerName) -> Tensor:
        """Return a layer's feature maps, [C, H, W], or its values, [C].

        Raises:
            UnitError: if there is no such layer, or it has no feature maps.
        """
        step = self.net.step(layer)
        self.net.check_units(step)
        return self._walk.maps[step][0]

    @shielded
    def project(
        self,
        layer: LayerName,
        channel: int,
        position: tuple[int, int] | None = None,
        rule: str = "deconvnet",
        select: str = "peak",
    ) -> Projection:
        """Bring one channel down to pixels, as :func:`convscope.project` does.

        Args:
            layer: its name, or a module.
            channel: a feature map of the layer.
            position: row and column in that map; None for its peak.
            rule: a name in :data:`convscope.network.rules.RULES`.
            select: ``"peak"`` keeps that one activation, ``"map"`` the whole map.

        Raises:
            UnitError: if there is no such layer, channel or position.
            RuleError: if there is no such rule, or it means nothing here.
        """
        request = Request.of(self.net, layer, [channel], rule, select, None)
        if position is not None:
            self.net.check_units(request.steps[0], position=position)
        return self._walk.project(request, channel, self.title, self.memory, position)

    @shielded
    def read(self, layer: LayerName | None = None, channel: int = 0) -> Reading:
        """Return what the network says to the image as it is; see :meth:`occlude`."""
        question = self._question(layer, channel)
        return _reading(question, self._walk.maps)

    @shielded
    def occlude(
        self,
        row: int,
        column: int,
        patch: Size | None = None,
        fill: FillValue = "gray",
        layer: LayerName | None = None,
        channel: int = 0,
    ) -> Reading:
        """Return what the network says with a patch on the image, as :func:`convscope.occlude`.

        Args:
            row: the patch's first row; it is cut off at the image's border.
            column: its first column.
            patch: its side in pixels, or (height, width); by default about a seventh of the image.
            fill: what hides the pixels, as of :func:`convscope.occlude`.
            layer: a layer whose feature map is watched too.
            channel: that map.

        Raises:
            ImageError: if the patch lies outside of the image, or there is no such fill.
            UnitError: if there is no such layer or channel.
        """
        (found,) = self.occlude_each([(row, column)], patch, fill, layer, channel)
        return found

    @shielded
    def occlude_each(
        self,
        places: Sequence[tuple[int, int]],
        patch: Size | None = None,
        fill: FillValue = "gray",
        layer: LayerName | None = None,
        channel: int = 0,
    ) -> list[Reading]:
        """Return what the network says with a patch at each of several places, one at a time.

        All but *places*, the first row and column of each, is as in :meth:`occlude`.
        """
        height, width = self.image.shape[1:]
        own = pair_of(default_patch((height, width)) if patch is None else patch, "patch")
        firsts = np.array(places, dtype=np.int64).reshape(-1, 2)
        corners = np.concatenate([firsts.clip(0), np.minimum(firsts + own, (height, width))], 1)
        for (row, column), (top, left, bottom, right) in zip(places, corners.tolist(), strict=True):
            if bottom <= top or right <= left:
                raise ImageError(
                    f"the patch at row {row}, column {column} does not touch the image"
                )
        cover = Cover(corners, fill_for(fill, self.image, self.net.preprocess, own))
        question = self._question(layer, channel)
        readings: dict[int, Reading] = {}
        passes = self._passes_of(question)
        for answers in passes.answers(cover):
            for place, number in enumerate(answers.patches.tolist()):
                found = {step: own[place : place + 1] for step, own in answers.outputs.items()}
                sums = answers.activation
                activation = None if sums is None else float(sums[place])
                readings[number] = _reading(question, found, activation)
        self._checked, self._differs = passes.checked, passes.differs
        return [readings[number] for number in range(len(places))]

    def _passes_of(self, question: Question) -> WindowedPasses:
        """Return the walk of patches for a question, which is kept for the latest alone."""
        key = (question.layer, question.channel)
        if key not in self._passes:
            passes = WindowedPasses(
                question, self._walk.maps, self.memory, turned=self._turned, unasked=True
            )
            # That windows answer as the whole network does is seen once.
            passes.checked, passes.differs = self._checked, self._differs
            self._passes = {key: passes}
        return self._passes[key]

    @shielded
    def with_units(
        self,
        layer: LayerName,
        *,
        off: Sequence[int] = (),
        scale: Mapping[int, float] | None = None,
        only: Sequence[int] | None = None,
    ) -> Reading:
        """Return what :meth:`.Network.with_units` says, from the kept maps of the layer on.

        Raises:
            UnitError: if there is no such layer or channel.
        """
        step, factors = self.net.unit_factors(layer, off, scale, only)
        made, _, shaped = along_channels(self.net.graph, step, factors.to(self.net.device))
        changed = {made: self._walk.maps[made] * shaped}
        question = self._question(None, 0)
        return _reading(
            question, resume(self.net.graph, self._walk.maps, changed, question.targets)
        )

    def _question(self, layer: LayerName | None, channel: int) -> Question:
        step = None if layer is None else self.net.step(layer)
        if step is not None:
            self.net.check_units(step, (channel,))
        return Question(self.net, self.image, self.net.answer, step, channel)


def _reading(
    question: Question, maps: Mapping[int, Tensor], activation: float | None = None
) -> Reading:
    """Return what a network says, by the maps of a single image."""
    if activation is None and question.layer is not None and question.layer in maps:
        activation = float(maps[question.layer][0, question.channel].double().sum())
    answer = question.answer
    if answer is None or answer.step not in maps:
        return Reading(activation=activation)
    values = maps[answer.step].cpu()
    rows = {name: found[0] for name, found in quantities(answer, values).items()}
    predicted = None if answer.kind == "number" else int(answer.best(values))
    return Reading(predicted=predicted, activation=activation, **rows)


@shielded
def look(
    net: Network,
    image: Tensor | Picture,
    *,
    title: str | None = None,
    memory: int | str = budget.DEFAULT,
) -> Look:
    """Let an image go up a network once, and keep all of its feature maps and switches.

    Args:
        net: the network.
        image: a picture file or a Pillow image, or [1, C, H, W] in the network's input space.
        title: what the image is called; by default the file's name.
        memory: bytes, or a text such as ``"2GB"``, for the walks down and the batches of patches;
            the maps of the image come on top.

    Raises:
        ImageError: if the image does not fit.

    >>> import torch
    >>> from torch import nn
    >>> convolution = nn.Conv2d(1, 1, 2, bias=False)
    >>> _ = nn.init.constant_(convolution.weight, 1.0)
    >>> net = Network(nn.Sequential(convolution, nn.ReLU()), torch.zeros(1, 1, 3, 3))
    >>> kept = look(net, torch.tensor([[[[1.0, 0, 0], [0, 5, 1], [0, 1, 0]]]]))
    >>> kept.maps("1")
    tensor([[[6., 6.],
             [6., 7.]]])
    >>> kept.project("1", 0, position=(0, 0)).pixels[0, 0, 0]
    tensor([[6., 6., 0.],
            [6., 6., 0.],
            [0., 0., 0.]])
    """
    allowed = budget.parse_bytes(memory)
    net = net.fitting(image).laid_out()
    return Look(net, *read_one(net, image, "looked at", title), allowed)
