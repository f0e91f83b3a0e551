"""Images of a set in batches: the loop that reads some of them, and skips those that are bad."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from convscope.errors import ImageError
from convscope.methods.scanning.sources import Images, checked_image, class_answers, class_of
from convscope.network import Network

UNKNOWN = -1
"""Stands for the class or the answer of an image that has none."""

FEWEST, TIMED, TRIED = 8, 2, 10
"""However short the time, fewer images say nothing; those timed, and those tried for it."""


@dataclass(frozen=True, eq=False)
class ImageBatch:
    """N images, as each of some sets has them that give the same images in the same order.

    Attributes:
        inputs: of each set, [N, C, H, W], in its network's input space.
        classes: of each set, [N], int64, their classes; -1 where an image has none.
        answers: of each set, [N], int64, its network's right answers; -1 where there is none.
        numbers: of the images.
        done: how many images were looked at so far, bad ones included.
    """

    inputs: tuple[Tensor, ...]
    classes: tuple[Tensor, ...]
    answers: tuple[Tensor, ...]
    numbers: list[int]
    done: int


def batches(
    sets: Sequence[tuple[Images, Network]], numbers: Sequence[int], size: int
) -> Iterator[ImageBatch]:
    """Yield the images of these numbers, *size* at a time, the last ones fewer.

    An image that one of the networks cannot take is left out; it is for a scan to name it.
    """
    answers = [_answers(source, net) for source, net in sets]
    waiting: list[tuple[int, list[Tensor], list[int]]] = []
    for done, number in enumerate(numbers, start=1):
        try:
            loaded = [(*source.load(number), source, net) for source, net in sets]
            inputs = [checked_image(image, net).to(net.dtype) for image, _, _, net in loaded]
        except ImageError:
            pass
        else:
            # Two sets may have other classes, and so a label in one of them only.
            classes = [class_of(label, source) for _, label, source, _ in loaded]
            waiting.append((number, inputs, [UNKNOWN if c is None else c for c in classes]))
        if waiting and (len(waiting) == size or done == len(numbers)):
            which, images, labels = zip(*waiting, strict=True)
            own = tuple(torch.tensor(labels).T)
            right = tuple(known[classes] for known, classes in zip(answers, own, strict=True))
            stacked = tuple(map(torch.stack, zip(*images, strict=True)))
            yield ImageBatch(stacked, own, right, list(which), done)
            waiting = []


def _answers(source: Images, net: Network) -> Tensor:
    """Return the answer that each class stands for; the last is that of none, class -1."""
    known = class_answers(source, net) or [None] * len(source.classes)
    return torch.tensor([UNKNOWN if own is None else own for own in (*known, None)])


def images_affordable(net: Network, images: Images, seconds: float | None, passes: float) -> int:
    """Return how many of a set's images a network can look at in a time, each in so many passes.

    A pass over a few of them is timed: loading, and the way up. It is at least 8, and all of them
    where there is no limit or none of those few can be read.
    """
    if seconds is None:
        return len(images)
    found, began = [], time.monotonic()
    for batch in batches([(images, net)], range(min(TRIED, len(images))), 1):
        with torch.no_grad():
            net(batch.inputs[0])
        found.append(time.monotonic() - began)
        began = time.monotonic()
        if len(found) > TIMED:
            break
    if not found:
        return len(images)
    # The first one is slower than all that follow.
    one = min(found)
    return min(len(images), max(FEWEST, int(seconds / (passes * max(one, 1e-6)))))
