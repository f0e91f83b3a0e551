"""The images that the slower measurements look at: some of a set, spread evenly over it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from convscope.errors import ImageError
from convscope.methods.scanning.sources import Images, checked_image, class_answers, class_of
from convscope.network import Network


@dataclass(frozen=True, eq=False)
class Batch:
    """Some images.

    Attributes:
        images: [N, C, H, W], in the network's input space.
        labels: [N], int64, the network's right answers; -1 where an image has none.
        done: how many images were looked at so far, bad ones included.
    """

    images: Tensor
    labels: Tensor
    done: int


class Sample:
    """At most so many images of a set, spread evenly over it; bad ones are skipped.

    Args:
        net: the network that they are for.
        source: the set.
        most: how many at most.
        skipped: numbers that are known to be bad.
    """

    def __init__(self, net: Network, source: Images, most: int, skipped: set[int]) -> None:
        self._net, self._source = net, source
        self._answers = class_answers(source, net)
        good = [number for number in range(len(source)) if number not in skipped]
        places = np.linspace(0, len(good) - 1, min(most, len(good))).round().astype(int)
        self._numbers = [good[place] for place in places]

    def __len__(self) -> int:
        return len(self._numbers)

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield the images, *size* at a time, the last ones fewer."""
        waiting: list[tuple[Tensor, int]] = []
        for done, number in enumerate(self._numbers, start=1):
            try:
                pixels, label = self._source.load(number)
                found = checked_image(pixels, self._net).to(self._net.dtype)
                waiting.append((found, self._right_answer(label)))
            except ImageError:
                pass  # the scan has named it, or it went bad since
            if waiting and (len(waiting) == size or done == len(self._numbers)):
                images, labels = zip(*waiting, strict=True)
                yield Batch(torch.stack(images), torch.tensor(labels), done)
                waiting = []

    def _right_answer(self, label: int | None) -> int:
        """Return the answer that a label stands for; -1 if there is none."""
        number = class_of(label, self._source)
        answer = None if number is None or self._answers is None else self._answers[number]
        return -1 if answer is None else answer
