"""Ablate: what each channel of a layer costs each class when it is off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from convscope.errors import ConvscopeError, DataError, ImageError, UnitError
from convscope.methods import bad_images, budget, not_finite
from convscope.methods.descents import images_at_once
from convscope.methods.pictures import channel_names
from convscope.methods.scanning.batches import ImageBatch, batches
from convscope.methods.scanning.sources import NO_LABEL, Images, class_notes, fitted, images_of
from convscope.methods.targets import ClassName, class_number
from convscope.network import Network
from convscope.network.channels import along_channels
from convscope.network.layers import LayerName
from convscope.network.ops import Convolution
from convscope.network.ops.base import with_arguments
from convscope.network.ops.pointwise import FullyConnected
from convscope.network.shield import shielded
from convscope.network.walk import anew, ascend, resume
from convscope.outputs import finite
from convscope.results import Result
from convscope.wording import counted


@dataclass(frozen=True, eq=False, repr=False)
class Ablation(Result):
    """What each of C channels of a layer costs K classes when it is off.

    An image's class is its label; of one without a label, what the whole network takes it for.

    Attributes:
        score: [C, K], float64: by how much the score of a class, its logit, falls, on average over
            its images.
        accuracy: [C, K], float64: which share of its images is no longer taken for it, less the
            share that newly is.
        cost: [C], float64: by how much the score of an image's class falls, on average over all.
        error: [C], the standard error of that; NaN of a single image.
        clean: [K], which share of a class's images the whole network takes for it.
        counts: [K], int64: its images.
        channels: what the channels are called.
        classes: the names of the classes that occur.
        layer: the layer's name.
        labelled: how many of the images have a label.
        data: what the set of images is called.
        network: the network's name.
        bad: image -> why it was left out.
    """

    score: Tensor
    accuracy: Tensor
    cost: Tensor
    error: Tensor
    clean: Tensor
    counts: Tensor
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    layer: str
    labelled: int
    data: str
    network: str
    bad: dict[str, str] = field(default_factory=dict)

    figure: ClassVar[str] = "ablate"

    @property
    def order(self) -> Tensor:
        """The channels from the costliest on, [C]."""
        return self.cost.argsort(descending=True, stable=True)

    @property
    def lost(self) -> Tensor:
        """By how much the accuracy over all images falls without each channel, [C]."""
        return (self.accuracy * self.counts).sum(1) / self.counts.sum()

    def table(self) -> list[dict[str, Any]]:
        """Return a row a channel, the costliest first, with the class that it costs most."""
        most, hit = self.score.max(1)
        rows = [
            {
                "channel": channel, "name": self.channels[channel],
                "score": float(self.cost[channel]), "error": float(self.error[channel]),
                "accuracy": float(self.lost[channel]), "class": self.classes[int(hit[channel])],
                "class score": float(most[channel]),
            }
            for channel in self.order.tolist()
        ]  # fmt: skip
        return [finite(row) for row in rows]

    def summary(self) -> str:
        """Return what the costliest channels cost."""
        lines = [
            f"{self.network}, {self.layer}: what each of {len(self.channels)} channels costs when "
            f"off, over {counted(int(self.counts.sum()), 'image')} of {self.data}: the mean logit "
            f"of an image's class, and accuracy"
        ]
        lines += [
            f"  {row['name']}: logit {_moves(row['score'])}, accuracy "
            f"{_moves(100 * row['accuracy'], '.1f', ' points')}; most of {row['class']}, whose "
            f"logit {_moves(row['class score'])}"
            for row in self.table()[:5]
        ]
        return "\n".join([*lines, *bad_images.told(self.bad.items())])


def _moves(fall: float | None, form: str = ".3g", unit: str = "") -> str:
    """Return a fall in words.

    >>> _moves(-12.0, ".1f", " points"), _moves(0.0)
    ('rises by 12.0 points', 'stays')
    """
    if fall is None:
        return "is not finite"
    if not float(format(fall, form)):
        return "stays"
    return f"{'rises' if fall < 0 else 'falls'} by {abs(fall):{form}}{unit}"


@shielded
@budget.holding
def ablate(
    net: Network,
    images: Any,
    layer: LayerName,
    *,
    labels: Sequence[ClassName] | None = None,
    sample: int = 500,
    memory: int | str = budget.DEFAULT,
    progress: budget.Progress | None = None,
) -> Ablation:
    """Switch off each channel of a layer by itself, and see what that costs each class.

    It is Zeiler & Fergus's ablation (arXiv 1311.2901, table 3) a channel at a time, without
    training anew. Each image goes up once; what is above the layer runs anew from its kept map, for
    many channels at once, and not at all for those that are off in an image as it is.

    Args:
        net: the network, whose output is a row of classes.
        images: as for :func:`.scan`: a folder, a tensor, or a data set, with labels or without.
        layer: its name, or a module.
        labels: the class of each image, by number or name; by default those of the data set.
        sample: how many of the images are looked at, spread evenly, at most.
        memory: bytes, or a text such as ``"2GB"``; it decides how many channels go at once.
        progress: called with the images done and the images in all.

    Raises:
        UnitError: if the network is no classifier, or there is no such layer or class, or the
            answer does not depend on the layer.
        ImageError: if labels are missing.
        DataError: if there is no image.

    >>> import torch
    >>> from torch import nn
    >>> module = nn.Sequential(nn.ReLU(), nn.Flatten())  # the classes are the channels
    >>> net = Network(module, torch.zeros(1, 2, 1, 1))
    >>> found = ablate(net, torch.tensor([3.0, 1, 0, 2]).view(2, 2, 1, 1), "0", labels=[0, 1])
    >>> found.score.tolist(), found.accuracy.tolist()
    ([[3.0, 0.0], [0.0, 2.0]], [[1.0, 0.0], [0.0, 1.0]])
    """
    if sample < 1:
        raise ConvscopeError(f"the sample must be at least 1 image, not {sample}")
    net = fitted(net, images)
    work = _AblationWork(net, layer, budget.parse_bytes(memory))
    source = images_of(labelled(net, images, labels), net)
    chosen = budget.evenly(len(source), sample)
    for batch in batches([(source, net)], chosen, work.at_once, left_out=work.bad.__setitem__):
        work.add(batch)
        if progress:
            progress(batch.done, len(chosen))
    return work.found(source)


def labelled(net: Network, images: Any, labels: Sequence[ClassName] | None) -> Any:
    """Return images with the labels that were given for them, one each, if any were."""
    if labels is None:
        return images
    if len(images) != len(labels):
        raise ImageError(f"there are {len(labels)} labels for {len(images)} images")
    numbers = (class_number(net, label) for label in labels)
    return list(zip(images, numbers, strict=True))


class _AblationWork:
    """Ablation of one layer, image by image."""

    def __init__(self, net: Network, layer: LayerName, memory: int) -> None:
        if net.answer is None or net.answer.kind == "number" or net.answer.count < 2:
            raise UnitError(f"{net.name} has no classes that a channel could cost anything")
        self.net, self.answer, graph = net, net.answer, net.graph
        self.step = net.step(layer)
        net.check_units(self.step)
        count = graph.steps[self.step].shape[1]
        self.made, self.dimension, _ = along_channels(graph, self.step, torch.ones(count))
        again, others = anew(graph, [self.made], [self.answer.step])
        if self.answer.step not in (self.made, *again):
            raise UnitError(f"the answer of {net.name} does not depend on {layer}")
        # A layer with weights that reads the channels loses one channel's share, and no more.
        self.shares = [index for index in again if self._takes_shares(index)]
        again, others = anew(graph, [self.made, *self.shares], [self.answer.step])
        self.whole = any(self.made in graph.steps[index].inputs for index in again)
        self.kept = [*{self.made, *self.shares, *others, self.answer.step}]
        most = max(torch.Size(graph.steps[i].shape).numel() for i in (*self.kept, *again))
        limit = budget.tensor_limit(memory, net.device) // (most * net.dtype.itemsize)
        self.channels_at_once = max(1, limit) if graph.batched else 1
        self.at_once = images_at_once(graph, self.kept, memory)
        classes = self.answer.count
        self.score = torch.zeros(count, classes, dtype=torch.float64)
        self.right, self.squares = torch.zeros_like(self.score), torch.zeros(count).double()
        self.clean, self.counts = torch.zeros(classes).double(), torch.zeros(classes).long()
        self.labelled = self.unlike = 0
        self.bad: dict[int, str] = {}

    def add(self, batch: ImageBatch) -> None:
        """Switch each channel off in each of some images."""
        net, answer = self.net, self.answer
        kept = ascend(net.graph, net.checked(batch.inputs[0]), self.kept).maps
        finite = answer.scores(kept[answer.step]).isfinite().all(1).cpu()
        if not bool(finite.all()):
            for place in (~finite).nonzero().flatten().tolist():
                why = not_finite.why_left_out(net, batch.inputs[0][place], [answer.step])
                self.bad[batch.numbers[place]] = why
            if bool(finite.any()):
                self.add(batch.part(finite.tolist()))
            return
        labels = batch.answers[0].to(net.device)
        decided = answer.decided(kept[answer.step])
        own = torch.where(labels < 0, decided, labels)
        scores = answer.scores(kept[answer.step]).double()
        maps = kept[self.made]
        live = (maps != 0).movedim(self.dimension, 1).reshape(len(maps), len(self.score), -1).any(2)
        for channel, image in torch.split(live.T.nonzero().T, self.channels_at_once, 1):
            found = self._without(kept, channel, image)
            target, rows = own[image], torch.arange(len(image), device=own.device)
            change = scores[image, target] - answer.scores(found).double()[rows, target]
            wrong = (decided[image] == target).double() - (answer.decided(found) == target).double()
            at = channel.cpu(), target.cpu()
            self.score.index_put_(at, change.cpu(), accumulate=True)
            self.right.index_put_(at, wrong.cpu(), accumulate=True)
            self.squares.index_add_(0, at[0], change.cpu().square())
        own = own.cpu()
        self.counts += own.bincount(minlength=answer.count)
        self.clean += own[(decided.cpu() == own)].bincount(minlength=answer.count)
        self.labelled += int((labels >= 0).sum())
        self.unlike += int((batch.classes[0] < NO_LABEL).sum())

    def _takes_shares(self, index: int) -> bool:
        """Return whether a step adds up what it makes of each of the layer's channels."""
        step = self.net.graph.steps[index]
        if step.inputs != (self.made,) or self.dimension != 1:
            return False
        if isinstance(step.operation, Convolution):
            return not step.operation.transposed and step.call.arguments["groups"] == 1
        return isinstance(step.operation, FullyConnected) and len(step.shape) == 2

    def _without(self, kept: Mapping[int, Tensor], channel: Tensor, image: Tensor) -> Tensor:
        """Return what the answer is read of, each row an image without one channel."""
        graph, target = self.net.graph, self.answer.step
        rows = {i: kept[i].index_select(0, image) for i in self.kept if i != self.made}
        changed = {index: rows[index] for index in self.shares}
        if self.whole or not self.shares:
            changed[self.made] = off = kept[self.made].index_select(0, image)
            off.movedim(self.dimension, 1)[torch.arange(len(image)), channel] = 0
        # What a layer with weights makes of all channels but one is what it made of all, less that
        # one's share: a convolution over a single channel instead of over all.
        for own in torch.unique(channel).tolist() if self.shares else ():
            there = channel == own
            maps = kept[self.made][image[there], own : own + 1]
            for index in self.shares:
                call = graph.steps[index].call
                weight = call.arguments["weight"][:, own : own + 1]
                share = with_arguments(call, weight=weight, bias=None).run([maps], len(maps))
                changed[index][there] -= share
        return resume(graph, rows, changed, [target])[target]

    def found(self, source: Images) -> Ablation:
        bad = bad_images.titled(self.bad, source.title)
        net, there = self.net, self.counts.nonzero().flatten()
        counts, total = self.counts[there], int(self.counts.sum())
        if not total:
            raise DataError(
                f"{source.name} holds no image that {net.name} can take{bad_images.first(bad)}"
            )
        cost = self.score.sum(1) / total
        spread = (self.squares / total - cost.square()).clamp(min=0) / (total - 1 or torch.nan)
        count = len(self.score)
        names = net.classes or [f"{self.answer.noun} {n}" for n in range(self.answer.count)]
        unknown = int(cost.isnan().sum())
        unlike = (
            f"{self.unlike:,} of {counted(total, 'image')} have a label that is no class's number: "
            f"what the whole network takes them for stands in for it",
        ) * bool(self.unlike)
        told = (f"values are not finite with {counted(unknown, 'channel')} off",) * bool(unknown)
        return Ablation(
            score=self.score[:, there] / counts,
            accuracy=self.right[:, there] / counts,
            cost=cost,
            error=spread.sqrt(),
            clean=self.clean[there] / counts,
            counts=counts,
            channels=channel_names(net, [self.step] * count, range(count)),
            classes=tuple(names[n] for n in there.tolist()),
            layer=net.graph.steps[self.step].name,
            labelled=self.labelled,
            data=source.name,
            network=net.name,
            bad=bad,
            notes=net.notes + class_notes(source, net) + unlike + told,
        )
