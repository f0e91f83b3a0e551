"""Targets: what of a network's output is asked about, a class or any number that it makes."""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from convscope.arguments import checked
from convscope.errors import UnitError, near_matches
from convscope.network import Network
from convscope.network.answer import Answer
from convscope.network.walk import ascend

ClassName = int | str
"""A class, by its number or its name."""


@dataclass(frozen=True)
class Target:
    """A number that a network's output holds or makes, where it is not the score of one class.

    Attributes:
        of: a class by number or name, or a channel of an output of maps, which stands for the mean
            over its map; or the place of one number in the output, such as ``(4, 8399)``.
        minus: a class whose score is taken away.
        box: top, left, bottom, right (the last two excluded) of the part of the image over which
            that mean is taken.
        mask: [H, W], the same for a part of any shape, True inside; with a box, where both are.

    >>> Target("tabby", minus=282), Target(3, box=(10, 20, 40, 60)).box
    (Target(of='tabby', minus=282, box=None, mask=None), (10, 20, 40, 60))
    """

    of: ClassName | tuple[int, ...]
    minus: ClassName | None = None
    box: tuple[int, int, int, int] | None = None
    mask: Tensor | None = None


Target.__init__ = checked(Target.__init__)  # type: ignore[method-assign]

AnyTarget = ClassName | Target | Callable[..., Tensor]
"""Also any differentiable function of the outputs, [1, ...] each, in their order, to one number."""

Named = int | str
"""A class by its number, or any other target by what it is called."""


@dataclass(frozen=True)
class Goal:
    """A target of one network.

    Attributes:
        name: what it is called.
        channel: the class's number; -1 where it is none.
        steps: the steps whose outputs it reads.
        made: makes a number of each image, [N], of these.
        plain: whether it is a class's score alone, or one of several numbers.
    """

    name: str
    channel: int
    steps: tuple[int, ...]
    made: Callable[..., Tensor]
    plain: bool = False

    def values(self, maps: Mapping[int, Tensor]) -> Tensor:
        """Return the numbers, [N]."""
        return self.made(*(maps[step] for step in self.steps))

    def slopes(self, maps: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Return how the numbers rise with each of the outputs."""
        with torch.enable_grad():
            leaves = {step: maps[step].detach().requires_grad_() for step in self.steps}
            values = self.values(leaves)
            if not values.requires_grad:
                raise UnitError(f"target {self.name} has no derivative by the outputs")
            found = torch.autograd.grad(values.sum(), [*leaves.values()], allow_unused=True)
        pairs = zip(self.steps, found, strict=True)
        return {step: slope for step, slope in pairs if slope is not None}


def readable(net: Network) -> list[int]:
    """Return the steps that a target may read, that of the classes first."""
    answer, graph = net.answer, net.graph
    return [graph.output if answer is None else answer.step, *graph.outputs.values()]


def goals(net: Network, target: AnyTarget | Sequence[AnyTarget] | None, best: int) -> list[Goal]:
    """Return the targets asked for, those of *net*.

    Args:
        net: the network.
        target: one or several; None for the most probable class.
        best: that.

    Raises:
        UnitError: if one does not exist in the network's output, or there are none.
    """
    if target is None and net.answer is None:
        shape = [*net.graph.steps[net.graph.output].shape[1:]]
        box = "'0@10,20,40,60', class 0 in a box, or " if net.graph.is_map(net.graph.output) else ""
        one = ",".join(str(size // 2) for size in shape)
        raise UnitError(
            f"{net.name} gives {shape}, not one number a class: give a target, such as {box}"
            f"{one!r}, one of the numbers"
        )
    chosen = best if target is None else target
    return [_goal(net, one) for one in several(chosen) or [chosen]]


def _goal(net: Network, target: Any) -> Goal:
    graph = net.graph
    if callable(target):
        steps = tuple(graph.outputs.values())

        def each(*outputs: Tensor) -> Tensor:
            images = [[own[n : n + 1] for own in outputs] for n in range(len(outputs[0]))]
            try:
                rows = [target(*own) for own in images]
            except Exception as error:  # whatever the caller's function raises
                reason = f"{type(error).__name__}: {error}"
                raise UnitError(f"the function that is the target fails: {reason}") from error
            if not all(isinstance(row, Tensor) and row.numel() == 1 for row in rows):
                raise UnitError("a function as a target returns a tensor of one number")
            return torch.cat([row.reshape(1) for row in rows])

        name = getattr(target, "__name__", type(target).__name__)
        return Goal(name.replace("<lambda>", "a function"), -1, steps, each)
    if isinstance(target, str):
        target = _read(net, target)
    if not isinstance(target, Target):
        # What is no class's number is refused here as what it is, not as part of a target.
        target = Target(target if isinstance(target, str) else class_number(net, target))
    step = graph.output if net.answer is None else net.answer.step
    shape = graph.steps[step].shape
    if isinstance(target.of, tuple):
        place = tuple(target.of)
        inside = len(place) == len(shape) - 1 and all(
            0 <= own < size for own, size in zip(place, shape[1:], strict=True)
        )
        if not inside:
            raise UnitError(f"{place} is no place in an output of {list(shape[1:])}")
        if (target.minus, target.box, target.mask) != (None, None, None):
            raise UnitError(f"{place} is one number: it has no part, and nothing is taken from it")
        text = ", ".join(map(str, place))
        return Goal(f"output {text}", -1, (step,), lambda values: values[(slice(None), *place)])
    return _class_goal(net, target, step)


def _class_goal(net: Network, target: Target, step: int) -> Goal:
    """Return the score of a class, less that of another, or their means over part of maps."""
    target = _within(net, target)
    numbers = [class_number(net, one) for one in (target.of, target.minus) if one is not None]  # type: ignore[arg-type]
    noun = "class" if net.answer is None else net.answer.noun
    name = " − ".join(f"{n} {net.classes[n]}" if net.classes else f"{noun} {n}" for n in numbers)
    weights = None
    if net.answer is None:
        weights = _part(net, target, step)
    elif target.box is not None or target.mask is not None:
        raise UnitError(f"{net.name} gives one number a {noun}: no part of the image has its own")
    if target.mask is not None:
        name += " in a mask"
    if target.box is not None:
        top, left, bottom, right = target.box
        name += f" in rows {top}-{bottom - 1}, columns {left}-{right - 1}"

    def made(values: Tensor) -> Tensor:
        # One number an image may come without a dimension for it.
        flat = values.reshape(len(values), -1)
        if weights is not None:
            flat = (values * weights.to(values)).sum((2, 3))
        own, *other = flat[:, numbers].unbind(1)
        return own - other[0] if other else own

    return Goal(name, numbers[0], (step,), made, weights is None and target.minus is None)


def _within(net: Network, target: Target) -> Target:
    """Return a target whose box ends where the image does."""
    if target.box is None:
        return target
    height, width = net.input_shape[1:]
    top, left, bottom, right = (max(edge, 0) for edge in target.box)
    return replace(target, box=(top, left, min(bottom, height), min(right, width)))


def _part(net: Network, target: Target, step: int) -> Tensor:
    """Return what each place of an output of maps counts, [h, w]: as much of it as lies inside."""
    size, (height, width) = net.input_shape[1:], net.graph.steps[step].shape[2:]
    mask = torch.ones(size) if target.mask is None else target.mask.detach().cpu()
    if mask.shape != size:
        raise UnitError(f"a mask is as large as the image, {[*size]}, not {[*mask.shape]}")
    if target.box is not None:
        top, left, bottom, right = target.box
        box = torch.zeros(size)
        box[top:bottom, left:right] = 1
        mask = box * (mask != 0)
    inside = (mask.mT if net.graph.is_turned(step) else mask) != 0
    found = functional.adaptive_avg_pool2d(inside.double()[None], (height, width))[0]
    if not found.any():
        raise UnitError(f"the box or mask holds nothing of the image, {[*size]}")
    return found / found.sum()


def _read(net: Network, text: str) -> ClassName | Target:
    """Return the target that a text names: a class, ``281-282``, ``3@0,0,40,60``, ``4,8399``."""
    names = {name.lower() for name in net.classes or ()}

    def known(part: str) -> bool:
        return part.isdecimal() or part.lower() in names

    if known(text.strip()):
        return text
    what, _, box = text.rpartition("@")
    if numbers := re.fullmatch(r"(\d+),(\d+),(\d+),(\d+)", box) if what else None:
        inner = _read(net, what)
        top, left, bottom, right = map(int, numbers.groups())
        inner = inner if isinstance(inner, Target) else Target(inner)
        return replace(inner, box=(top, left, bottom, right))
    if re.fullmatch(r"\d+(,\d+)+", text):
        return Target(tuple(map(int, text.split(","))))
    for dash in re.finditer("-", text):
        halves = text[: dash.start()].strip(), text[dash.end() :].strip()
        if all(map(known, halves)):
            return Target(halves[0], minus=halves[1])
    return text


def answer_of(net: Network) -> Answer:
    """Return how a network's output is read.

    Raises:
        UnitError: if it is no row of numbers.
    """
    if net.answer is None:
        shape = list(net.graph.steps[net.graph.output].shape)
        raise UnitError(
            f"{net.name} gives {shape}, not one number a class: give a Target, or a layer"
        )
    return net.answer


def answers(net: Network, images: Tensor) -> Tensor:
    """Return what ``net.answer`` reads, for images [N, C, H, W] in the network's input space."""
    step = answer_of(net).step
    return ascend(net.graph, net.checked(images), [step]).maps[step]


def several(target: Any) -> list[Any] | None:
    """Return the targets of a list of them; None of a single one."""
    try:
        found = None if isinstance(target, str) or callable(target) else list(target)
    except TypeError:  # a number, be it Python's, numpy's or torch's
        return None
    if found == []:
        raise UnitError("the list of targets is empty")
    return found


def class_number(net: Network, target: ClassName) -> int:
    """Return the number of a class, given its number or its name.

    Raises:
        UnitError: if there is none, or several have the name.
    """
    graph, noun, nouns = net.graph, "class", "classes"
    if net.answer is None and graph.is_map(graph.output):
        count = graph.steps[graph.output].shape[1]
    else:
        answer = answer_of(net)
        count, noun, nouns = answer.count, answer.noun, answer.nouns
    names = net.classes or ()
    if isinstance(target, str) and target not in names and target.strip().isdecimal():
        target = int(target)
    if isinstance(target, str):
        if not names:
            raise UnitError(
                f"{net.name} does not name its {nouns}: give a number, 0 to {count - 1}"
            )
        found = [n for n, name in enumerate(names) if name.lower() == target.lower()]
        if len(found) > 1:
            raise UnitError(f"several {nouns} are called {target!r}: {found}; give a number")
        if not found:
            raise UnitError(f"{net.name} has no {noun} {target!r}{near_matches(target, names)}")
        return found[0]
    try:
        number = operator.index(target)
    except TypeError:
        raise UnitError(f"a target is a whole number or a name, not {target!r}") from None
    if not 0 <= number < count:
        raise UnitError(f"{net.name} has {nouns} 0 to {count - 1}, not {number}")
    return number
