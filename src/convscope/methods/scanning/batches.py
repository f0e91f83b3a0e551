"""Images of a set in batches: the loop that reads some of them, and skips those that are bad."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from convscope.errors import ImageError
from convscope.methods.scanning.sources import Images, checked_image, class_answers, class_of
from convscope.network import Network

FEWEST, TIMED, TRIED = 8, 2, 10
"""However short the time, fewer images say nothing; those timed, and those tried for it."""

Item = TypeVar("Item")
Made = TypeVar("Made")

Sets = Sequence[tuple[Images, Network]]
"""Sets of images, each with the network that it is for."""


@dataclass(frozen=True, eq=False)
class ImageBatch:
    """N images, as each of some sets has them that give the same images in the same order.

    Attributes:
        inputs: of each set, [N, C, H, W], in its network's input space.
        classes: of each set, [N], int64, their classes; see :func:`.class_of`.
        answers: of each set, [N], int64, its network's right answers; -1 where there is none.
        numbers: of the images.
        done: how many images were looked at so far, bad ones included.
    """

    inputs: tuple[Tensor, ...]
    classes: tuple[Tensor, ...]
    answers: tuple[Tensor, ...]
    numbers: list[int]
    done: int

    def part(self, which: Sequence[bool]) -> "ImageBatch":
        """Return some of the images."""
        chosen = torch.tensor(which)
        tensors = (self.inputs, self.classes, self.answers)
        inputs, classes, answers = (tuple(one[chosen] for one in own) for own in tensors)
        numbers = [number for number, kept in zip(self.numbers, which, strict=True) if kept]
        return ImageBatch(inputs, classes, answers, numbers, self.done)


def batches(
    sets: Sets, numbers: Sequence[int], size: int, readers: int = 1,
    left_out: Callable[[int, str], None] = lambda *_: None,
) -> Iterator[ImageBatch]:  # fmt: skip
    """Yield the images of these numbers, *size* at a time, the last ones fewer.

    An image that one of the networks cannot take is left out, and *left_out* is told its number and
    why. Several *readers* read ahead, one thread each, which not every data set bears.
    """
    answers = [_answers(source, net) for source, net in sets]
    waiting: list[tuple[int, list[Tensor], list[int]]] = []
    for done, (number, found) in enumerate(_loaded(sets, numbers, readers, size + readers), 1):
        if isinstance(found, str):
            left_out(number, found)
        else:
            waiting.append((number, *found))
        if waiting and (len(waiting) == size or done == len(numbers)):
            which, images, labels = zip(*waiting, strict=True)
            own = tuple(torch.tensor(labels).T)
            right = tuple(known[classes] for known, classes in zip(answers, own, strict=True))
            stacked = tuple(map(torch.stack, zip(*images, strict=True)))
            yield ImageBatch(stacked, own, right, list(which), done)
            waiting = []


Loaded = tuple[int, tuple[list[Tensor], list[int]] | str]
"""An image's number, and of each set its input and its class; or else why it cannot be used."""


def _loaded(sets: Sets, numbers: Sequence[int], readers: int, ahead: int) -> Iterator[Loaded]:
    def load(number: int) -> Loaded:
        try:
            loaded = [(*source.load(number), source, net) for source, net in sets]
            inputs = [checked_image(image, net).to(net.dtype) for image, _, _, net in loaded]
        except ImageError as error:
            return number, str(error)
        # Two sets may have other classes, and so a label in one of them only.
        return number, (inputs, [class_of(label, own.classes) for _, label, own, _ in loaded])

    if readers == 1:
        yield from map(load, numbers)
        return
    with ThreadPoolExecutor(readers) as workers:
        yield from in_order(workers, load, numbers, ahead)


def in_order(
    workers: Executor, work: Callable[[Item], Made], items: Iterable[Item], ahead: int
) -> Iterator[Made]:
    """Yield what *work* makes of each item, in order, while it makes that of the next ones.

    The items are taken by this thread, no more of them at once than *ahead* and one.
    """
    running: deque[Future[Made]] = deque()
    for item in items:
        running.append(workers.submit(work, item))
        if len(running) > ahead:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()


def _answers(source: Images, net: Network) -> Tensor:
    """Return the answer that each class stands for; the last three are those of none."""
    known = class_answers(source, net) or [None] * len(source.classes)
    return torch.tensor([-1 if own is None else own for own in (*known, None, None, None)])


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
