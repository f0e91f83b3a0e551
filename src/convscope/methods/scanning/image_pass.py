"""The one pass over the images: batches of one shape, each computed by one thread."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from torch import Tensor

from convscope.methods import not_finite
from convscope.methods.scanning.batches import ImageBatch, batches, in_order
from convscope.methods.scanning.reductions import LayerBatch, company, peak_positions, reduced
from convscope.methods.scanning.sources import NOT_ONE_NUMBER, OTHER_LABEL, Images, class_answers
from convscope.methods.scanning.strongest import Integers
from convscope.methods.scanning.tally import Tally
from convscope.methods.scanning.units import ScannedLayer, scanned_layers
from convscope.network import Network
from convscope.network.visit import visit

MOST_IMAGES_AT_ONCE = 128
MAPS_ALIVE = 6
"""About how many maps of the largest size a batch and its reductions hold at once."""

SHARES = 4
"""A batch may take this part of the memory, so that as many run side by side."""

READERS = 4
READER_BYTES = 2**27
"""What a reader takes to decode a large photograph, of 12 megapixels."""


def least_memory(net: Network) -> int:
    """Return about how many bytes the work on one image takes, however little is given.

    On the way up a scan holds some maps; for the way down all maps are kept, and of the largest
    there are a signal, what it is made of and what it becomes.
    """
    maps = sum(int(np.prod(step.shape)) * step.dtype.itemsize for step in net.graph.steps)
    return max(MAPS_ALIVE * _largest(net), maps + 3 * _largest(net))


def batch_size(net: Network, memory: int) -> int:
    """Return how many images a batch has, a power of two: the same for every batch of a scan."""
    if not net.graph.batched:
        return 1
    fitting = memory // (SHARES * MAPS_ALIVE * _largest(net))
    return int(2 ** int(np.log2(max(1, min(MOST_IMAGES_AT_ONCE, fitting)))))


def batches_at_once(net: Network, size: int, memory: int) -> int:
    """Return how many batches of *size* images run side by side, one thread each."""
    if net.device.type != "cpu":
        return 1
    return max(1, min(torch.get_num_threads(), memory // (MAPS_ALIVE * size * _largest(net))))


def _largest(net: Network) -> int:
    """Return the bytes of an image's largest map."""
    return max(int(np.prod(step.shape)) * step.dtype.itemsize for step in net.graph.steps)


@contextmanager
def single_threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Yield workers in which torch computes with one thread each.

    How many threads share a convolution may decide its last digit: here it is always one.
    """
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as workers:
            yield workers
    finally:
        # Part of the setting is the process's, not the thread's.
        torch.set_num_threads(before)


_Looked = tuple[ImageBatch, dict[int, LayerBatch], Integers, dict[int, str]]
"""A batch that went up: what each layer had of its images, the answers, [N], or none where nobody
knows which are right, and the images that cannot be counted."""


class ImagePass:
    """One pass over images: each batch is counted in whole or not at all.

    A last batch of fewer than *size* images is filled with zeros.
    """

    def __init__(
        self, net: Network, source: Images, layers: list[ScannedLayer], size: int, tally: Tally
    ) -> None:
        self._net, self._source, self._size, self._tally = net, source, size, tally
        self._layers = {layer.step: layer for layer in layers}
        self._answer = None if class_answers(source, net) is None else net.answer
        # Of some layers alone the rest of the network does not run.
        whole = self._answer is not None or len(layers) == len(scanned_layers(net))
        end = net.graph.output if net.answer is None else net.answer.step
        self._ends = {end} if whole and net.graph.steps[end].dtype.is_floating_point else set[int]()
        self._counting = threading.Lock()

    def run(self, numbers: Integers, memory: int) -> Iterator[int]:
        """Scan the images of these numbers, as many batches side by side as the memory allows.

        Yields after each batch how many images are done.
        """
        at_once = batches_at_once(self._net, self._size, memory)
        # A data set of the caller's may not bear being read by several threads.
        files = len(numbers) > 0 and self._source.path(int(numbers[0])) is not None
        readers = max(1, min(READERS, memory // (2 * READER_BYTES))) if files else 1
        sets = [(self._source, self._net)]
        found = batches(sets, numbers.tolist(), self._size, readers, self._leave_out)
        with single_threads(at_once) as workers:
            yield from map(self._count, in_order(workers, self._look, found, at_once))
        if len(numbers) and int(numbers[-1]) in self._tally.bad:  # and so in no batch
            yield len(numbers)

    def _leave_out(self, number: int, reason: str) -> None:
        self._tally.bad[number] = reason
        self._tally.looked_at[number] = True

    def _look(self, batch: ImageBatch) -> _Looked:
        """Run the network on a batch, and again without those whose values are not finite."""
        found, answers, ends = self._reduced(batch)
        bad: dict[int, str] = {}
        rows = zip(*(f.reduced.finite() for f in found.values()), *ends, strict=True)
        finite = [all(row) for row in rows]
        if not all(finite):
            targets = {*self._layers, *self._ends}
            for number, image, good in zip(batch.numbers, batch.inputs[0], finite, strict=True):
                if not good:
                    bad[number] = not_finite.why_left_out(self._net, image, targets)
            batch = batch.part(finite)
            # Anew, since what entered the strongest was chosen among the bad ones, too.
            found, answers, _ = self._reduced(batch)
        return batch, found, answers, bad

    def _reduced(
        self, batch: ImageBatch
    ) -> tuple[dict[int, LayerBatch], Integers, list[list[bool]]]:
        """Run the network on a batch, padded to the one size, and reduce every layer's maps.

        Returns:
            these; the answers; and whether each image's is finite, if the network ran to its end.
        """
        answers, numbers = np.zeros(0, dtype=np.int64), np.array(batch.numbers)
        count = len(numbers)
        if not count:
            return {}, answers, []
        # A convolution may add up in another order for another number of images.
        pixels = torch.zeros(self._size, *self._net.input_shape, dtype=self._net.dtype)
        pixels[:count] = batch.inputs[0]
        found: dict[int, LayerBatch] = {}
        ends: list[list[bool]] = []

        def look(step: int, maps: Tensor, rectify: bool = False) -> None:
            nonlocal answers
            if self._answer is not None and step == self._answer.step:
                answers = self._answer.decided(maps)[:count].cpu().numpy()
            own = reduced(maps, rectify).part(count) if step in self._layers else None
            if step in self._ends:
                # The largest tells: a network may rule out a class by minus infinity.
                largest = maps.reshape(self._size, -1)[:count].amax(1)
                ends.append(largest.isfinite().tolist())
            if own is None:
                return
            layer = self._layers[step]
            # Others may be counted before this batch is: then some of these are out again, which
            # only costs their gathering. None that belongs in can be missing, for the bar only
            # rises.
            with self._counting:
                entering = self._tally.layers[layer.name].strongest.entering(own.peak, numbers)
            places = peak_positions(maps, entering)
            found[step] = LayerBatch(own, entering, places, company(maps, entering, places))

        pixels = self._net.checked(pixels)
        wanted = {*self._layers, *self._ends}
        wanted |= set() if self._answer is None else {self._answer.step}
        visit(self._net.graph, pixels, wanted, look, partial(look, rectify=True))
        return found, answers, ends

    def _count(self, looked: _Looked) -> int:
        """Count a batch; return how many images are done."""
        batch, found, answers, left_out = looked
        numbers, labels, tally = np.array(batch.numbers), batch.classes[0].numpy(), self._tally
        with self._counting:
            for number, reason in left_out.items():
                self._leave_out(number, reason)
            if not len(numbers):
                return batch.done
            for step, layer in self._layers.items():
                positions = layer.shape[1] * layer.shape[2]
                tally.layers[layer.name].add(found[step], positions, numbers, labels)
            if self._answer is not None:
                tally.answers.add(answers, batch.answers[0].numpy())
            seen = labels[labels >= 0]
            tally.class_images += np.bincount(seen, minlength=len(tally.class_images))
            tally.other_labels += int((labels == OTHER_LABEL).sum())
            tally.unlike_labels += int((labels == NOT_ONE_NUMBER).sum())
            tally.looked_at[numbers] = True
        return batch.done
