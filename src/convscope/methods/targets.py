"""Target classes: by number or by name, and what the logits say of them."""

import operator
from collections.abc import Sequence

from torch import Tensor

from convscope.errors import UnitError, near_matches
from convscope.network import Network

Target = int | str
"""A class, by its number or its name."""


def probabilities(logits: Tensor) -> Tensor:
    """Return the probabilities of logits [N, classes]; of a single logit, that of a yes."""
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)


def most_probable(logits: Tensor) -> Tensor:
    """Return the most probable class of each row, [N]; of a single logit 0, the only one."""
    return logits.argmax(dim=1)


def class_numbers(
    net: Network, target: Target | Sequence[Target] | None, answer: Tensor
) -> int | tuple[int, ...]:
    """Return the classes asked for as numbers.

    Args:
        net: the network.
        target: a number or a name; a sequence of them for several; None for the most probable one.
        answer: [1, classes], the logits of the image.

    Raises:
        UnitError: if one does not exist, or there are none.

    """
    if target is None:
        return int(most_probable(answer))
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
    count = net.graph.steps[net.graph.output].shape[1]
    names = net.classes or ()
    if isinstance(target, str) and target not in names and target.strip().isdecimal():
        target = int(target)
    if isinstance(target, str):
        if not names:
            raise UnitError(
                f"{net.name} does not name its classes: give a number, 0 to {count - 1}"
            )
        found = [n for n, name in enumerate(names) if name.lower() == target.lower()]
        if len(found) > 1:
            raise UnitError(f"several classes are called {target!r}: {found}; give a number")
        if not found:
            raise UnitError(f"{net.name} has no class {target!r}{near_matches(target, names)}")
        return found[0]
    try:
        number = operator.index(target)
    except TypeError:
        raise UnitError(f"a class is a whole number or a name, not {target!r}") from None
    if not 0 <= number < count:
        raise UnitError(f"{net.name} has classes 0 to {count - 1}, not {number}")
    return number
