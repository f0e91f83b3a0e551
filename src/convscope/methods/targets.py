"""Target classes: by number or by name."""

import operator
from collections.abc import Sequence

from torch import Tensor

from convscope.errors import UnitError, near_matches
from convscope.network import Network
from convscope.network.answer import Answer
from convscope.network.walk import ascend

Target = int | str
"""A class, by its number or its name."""


def answer_of(net: Network) -> Answer:
    """Return how a network's output is read.

    Raises:
        UnitError: if it is no row of numbers.

    """
    if net.answer is None:
        shape = list(net.graph.steps[net.graph.output].shape)
        raise UnitError(
            f"{net.name} gives {shape}, not one number a class: name a layer instead of a target"
        )
    return net.answer


def answers(net: Network, images: Tensor) -> Tensor:
    """Return what ``net.answer`` reads, for images [N, C, H, W] in the network's input space."""
    step = answer_of(net).step
    return ascend(net.graph, net.checked(images), [step]).maps[step]


def taken_for(net: Network, images: Tensor, top: int = 1) -> list[list[tuple[str, float]]]:
    """Return the most probable classes of each image by name, each with its probability.

    Returns:
        the best first; nothing for networks that name no classes, or whose output is no class.

    """
    if not net.classes or net.answer is None or net.answer.kind == "number":
        return [[] for _ in images]
    chances, places = net.answer.probabilities(answers(net, images)).topk(top)
    return [
        [(net.classes[n], p) for n, p in zip(own, found, strict=True)]
        for own, found in zip(places.tolist(), chances.tolist(), strict=True)
    ]


def class_numbers(
    net: Network, target: Target | Sequence[Target] | None, best: int
) -> int | tuple[int, ...]:
    """Return the classes asked for as numbers.

    Args:
        net: the network.
        target: a number or a name; a sequence of them for several; None for the best.
        best: the most probable class of the image.

    Raises:
        UnitError: if one does not exist, or there are none.

    """
    if target is None:
        return best
    try:
        several = None if isinstance(target, str) else list(target)  # type: ignore[arg-type]
    except TypeError:  # a number, be it Python's, numpy's or torch's
        several = None
    if several is None:
        return class_number(net, target)  # type: ignore[arg-type]
    if not several:
        raise UnitError("the list of target classes is empty")
    return tuple(class_number(net, one) for one in several)


def class_number(net: Network, target: Target) -> int:
    """Return the number of a class, given its number or its name.

    Raises:
        UnitError: if there is none, or several have the name.

    """
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
