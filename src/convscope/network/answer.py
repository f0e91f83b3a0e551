"""What a network's output means, and how to read it: the one place where it is turned into classes.

A network may end with logits, with the probabilities that a softmax or sigmoid makes of them, or
with numbers that are no probabilities at all. Taking one for the other gives wrong values without
any error, so the end of the graph is looked at. Where a softmax or sigmoid ends it, the logits are
read below that, from where they come without loss: the same network with and without it is
answered alike.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from convscope.errors import TraceError, check_known
from convscope.network.graph import Graph
from convscope.network.ops import BatchNorm, Convolution
from convscope.network.walk import ascend

ANSWERS = ("classes", "labels", "number")
"""What an output can be: one class of many, labels that hold or not each by itself, or numbers."""

SHAPING = {
    "view", "_unsafe_view", "reshape", "flatten", "squeeze", "unsqueeze", "clone", "alias",
    "detach", "contiguous", "to", "_to_copy", "dropout", "feature_dropout",
}  # fmt: skip
"""Operations that leave values and their order as they are."""

MOVING = {"permute", "transpose", "t", "movedim"}
"""Operations that leave the values of one row in their order, if there is only one."""

SUMS_TO_ONE = 1e-3


@dataclass(frozen=True)
class Answer:
    """How a network's output is read.

    Attributes:
        kind: one of :data:`ANSWERS`.
        step: the step whose values are read: the logits where the graph has them.
        count: how many classes, labels or numbers there are.
        form: what the step's values are: ``"softmax"`` or ``"sigmoid"`` if that makes probabilities
            of them, ``"probabilities"`` if they are some, ``"numbers"`` if they are none.
        told: what the output was taken for, in words.
    """

    kind: str
    step: int
    count: int
    form: str
    told: str

    @property
    def noun(self) -> str:
        """What one of the outputs is called."""
        return {"classes": "class", "labels": "label"}.get(self.kind, "output")

    @property
    def nouns(self) -> str:
        """What several of the outputs are called."""
        return f"{self.noun}es" if self.noun == "class" else f"{self.noun}s"

    def scores(self, values: Tensor) -> Tensor:
        """Return logits, or numbers, [N, count], of the step's values for N images.

        Of probabilities whose logits the graph does not have, their logarithm; of labels, that of
        the odds.
        """
        rows = values.reshape(-1, self.count)
        if self.form != "probabilities":
            return rows
        least = torch.finfo(rows.dtype).tiny
        log = rows.clamp(min=least).log()
        return log - (1 - rows).clamp(min=least).log() if self.kind == "labels" else log

    def probabilities(self, values: Tensor) -> Tensor:
        """Return probabilities, [N, count], of the step's values for N images."""
        rows = values.reshape(-1, self.count)
        if self.form == "softmax":
            return rows.softmax(dim=1)
        return rows.sigmoid() if self.form == "sigmoid" else rows

    def best(self, values: Tensor) -> Tensor:
        """Return the most probable class or label of each image, [N]; of numbers the first."""
        rows = values.reshape(-1, self.count)
        return rows.argmax(dim=1) * (self.kind != "number")

    def decided(self, values: Tensor) -> Tensor:
        """Return what each image is taken for, [N]: a class; of a single label 0, no, or 1, yes."""
        if self.count > 1:
            return self.best(values)
        return (self.probabilities(values)[:, 0] > 0.5).long()


def answer_of(
    graph: Graph, device: torch.device, kind: str | None = None, named: bool = False
) -> Answer | None:
    """Return how the output of a graph is read; None if it is not one row of numbers an image.

    Args:
        graph: the network.
        device: where its weights lie.
        kind: what its user says that it is; None to go by how the graph ends: a row of numbers is
            then the logits of classes, and a single one a number, unless a softmax, a sigmoid or
            the numbers' own values tell otherwise.
        named: whether the outputs have names, so that a single one is a label.

    Raises:
        TraceError: if there is no such kind, or the output is not of it.
    """
    if kind is not None:
        check_known("answer", kind, ANSWERS, TraceError)
    count = count_of(graph)
    if not count:
        if kind is not None:
            shape = list(graph.steps[graph.output].shape)
            raise TraceError(f"an output of shape {shape} is no row of {kind}: leave answer out")
        return None
    end, last = _ends_with(graph, count)
    unknown = end is None and _name(graph, last) != "hardsigmoid"
    if kind == "number" or (kind is None and unknown and count == 1 and not named):
        told = "one number" if count == 1 else f"{count} numbers"
        return Answer("number", graph.output, count, "numbers", told)
    if kind is None:
        is_sigmoid = end == "sigmoid" or _name(graph, last) == "hardsigmoid"
        kind = "labels" if is_sigmoid or count == 1 else "classes"
    if end is not None:
        form, step, because = end, last, f"a {end} ends the network"
    else:
        form, step, because = "sigmoid" if kind == "labels" else "softmax", graph.output, "logits"
        if _name(graph, last) == "hardsigmoid":
            form, because = "probabilities", "a hard sigmoid ends the network"
        elif kind == "classes" and _sum_to_one(graph, last, count, device):
            form, because = "probabilities", "its outputs add up to 1"
    if kind == "classes":
        return Answer(kind, step, count, form, f"one of {count} classes: {because}")
    several = "one label" if count == 1 else f"{count} labels, each by itself"
    return Answer(kind, step, count, form, f"{several}: {because}")


def count_of(graph: Graph) -> int:
    """Return how many numbers the output has an image; 0 if it is no single row of them."""
    rows, *shape = graph.steps[graph.output].shape
    count = math.prod(shape)
    return count if rows == 1 and max(shape, default=1) == count else 0


def _ends_with(graph: Graph, count: int) -> tuple[str | None, int]:
    """Return ``"softmax"`` or ``"sigmoid"`` if that ends the graph, and the step that it reads.

    Otherwise None, and the last step that does more than shape values anew.
    """
    index = _below_shaping(graph, graph.output, MOVING)
    name = _name(graph, index)
    if name == "log":
        below = _below_shaping(graph, graph.steps[index].inputs[0], MOVING)
        if _name(graph, below) in ("softmax", "_softmax"):
            index, name = below, _name(graph, below)
    call = graph.steps[index].made_by
    if call is None:
        return None, index
    if name in ("softmax", "_softmax", "log_softmax", "_log_softmax"):
        dim = int(call.arguments["dim"]) % len(call.shape)
        if dim and call.shape[dim] == count:
            return "softmax", graph.steps[index].inputs[0]
    if name in ("sigmoid", "log_sigmoid", "log_sigmoid_forward"):
        return "sigmoid", graph.steps[index].inputs[0]
    return None, index


def _below_shaping(graph: Graph, index: int, also: set[str]) -> int:
    """Return the step whose values a step shapes anew, itself if it does more than that."""
    while index and len(graph.steps[index].inputs) == 1 and _name(graph, index) in SHAPING | also:
        index = graph.steps[index].inputs[0]
    return index


def _name(graph: Graph, index: int) -> str:
    call = graph.steps[index].made_by
    return "" if call is None else call.name


def _is_linear(graph: Graph, index: int) -> bool:
    """Return whether a step is one that logits usually come from, and probabilities do not.

    The mean of maps is; that of several networks' answers is not.
    """
    if _name(graph, index) in ("linear", "addmm", "mm"):
        return True
    if isinstance(graph.steps[index].operation, Convolution | BatchNorm):
        return True
    pools = _name(graph, index) in ("mean", "avg_pool2d", "adaptive_avg_pool2d")
    return pools and graph.is_map(graph.steps[index].inputs[0])


def _sum_to_one(graph: Graph, last: int, count: int, device: torch.device) -> bool:
    """Return whether the outputs are probabilities, by what the network says to two noises.

    Ensembles, for one, end with the mean of several softmaxes.
    """
    if _is_linear(graph, last):
        return False
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((2, *graph.steps[0].shape[1:]), generator=generator, dtype=torch.float64)
    images = images.to(device, graph.steps[0].dtype)
    rows = ascend(graph, images, [graph.output]).maps[graph.output].reshape(2, count).double()
    return bool((rows >= 0).all() and ((rows.sum(1) - 1).abs() < SUMS_TO_ONE).all())
