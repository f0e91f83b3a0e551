"""Scan: the strongest activations of every channel over a data set, in one pass."""

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from convscope.errors import ConvscopeError, DataError, Interrupted
from convscope.methods import bad_images, budget
from convscope.methods.scanning.image_pass import ImagePass, batch_size
from convscope.methods.scanning.result import Scan
from convscope.methods.scanning.sources import Images, class_answers, fitted, images_of
from convscope.methods.scanning.strongest import Integers
from convscope.methods.scanning.tally import Tally
from convscope.methods.scanning.units import ScannedLayer, scanned_layers
from convscope.network import Network
from convscope.network.constants import weights_hash
from convscope.network.layers import LayerName
from convscope.network.shield import shielded

SAVING_SHARE = 0.05
"""Of the time, at most so much is spent on saving the state."""


@shielded
@budget.holding
def scan(
    net: Network,
    images: Any,
    layer: LayerName | Sequence[LayerName] | None = None,
    *,
    top: int = 9,
    only: Sequence[int] | Integers | None = None,
    memory: int | str = budget.DEFAULT,
    state: str | os.PathLike[str] | None = None,
    resume: bool = False,
    save_every: float = 10.0,
    progress: budget.Progress | None = None,
) -> Scan:
    """Find the strongest activations of every channel of every convolutional layer, in one pass.

    A unit's activation is read behind the batch norm and the rectifier that follow its convolution
    (:func:`.scanned_layers`), and an image's peak is the maximum over positions. Every batch has
    the same shape and is computed by one thread, several side by side, so that the number of
    threads, or a kill and a resume, decides no digit; how the images are shared out decides the
    last ones of means and correlations alone.

    Args:
        net: the network.
        images: a folder of pictures (in class folders or not), or a data set: anything with a
            length and a ``[number]`` that gives pictures (files or Pillow images) or tensors
            [C, H, W] in the network's input space, alone or before their label, which is a whole
            number, and anything else; or an :class:`.ImageSet`.
        layer: a convolution, or what its units are read at, by its name or as a module; several in
            a list; None for all convolutions.
        top: how many of the strongest images to keep of each channel, at most one entry an image;
            of equal peaks the earlier image's counts.
        only: the numbers of the images to scan, for a part of the data set; see :func:`merge`.
        memory: bytes, or a text such as ``"2GB"``, for the maps; it decides how many images run at
            once.
        state: a file that keeps what was counted so far, so that a scan can be resumed.
        resume: go on from *state* if it is there.
        save_every: seconds between two savings of the state, at least.
        progress: called with the images done and the images in all.

    Returns:
        the scan. Images that cannot be read, or that the network answers with values that are not
        finite, are left out and named in ``bad``.

    Raises:
        UnitError: if the network has no convolution, or *layer* is none.
        DataError: if there is no image to scan, or *state* holds another scan.
        Interrupted: on Ctrl-C, with the scan of the images until then as its ``result``.

    >>> import torch
    >>> from torch import nn
    >>> convolution = nn.Conv2d(1, 1, 1, bias=False)
    >>> _ = nn.init.constant_(convolution.weight, 2.0)
    >>> net = Network(nn.Sequential(convolution, nn.ReLU()), torch.zeros(1, 1, 2, 2))
    >>> pictures = [torch.zeros(1, 2, 2), torch.tensor([[[0.0, 3], [1, 0]]])]
    >>> found = scan(net, pictures, top=1).layers["0"]
    >>> found.peak.tolist(), found.image.tolist(), found.position.tolist(), found.mean.tolist()
    ([[6.0]], [[1]], [[[0, 1]]], [1.0])
    """
    if top < 1:
        raise ConvscopeError(f"the number of strongest images must be at least 1, not {top}")
    net = fitted(net, images)
    source = images_of(images, net)
    room = budget.parse_bytes(memory)
    size = batch_size(net, room)
    layers = scanned_layers(net, layer)
    facts = scan_facts(net, source, layers, top, size)
    tally = Tally.empty(facts)
    if state is not None and Path(state).exists():
        if not resume:
            raise DataError(f"{state} holds a scan already: resume it, or name another file")
        tally = Tally.load(state)
        tally.check_same(facts)
    numbers = _numbers(only, len(source))
    left = numbers[~tally.looked_at[numbers]]
    due = time.monotonic() + save_every
    work = ImagePass(net, source, layers, size, tally)
    try:
        for done in work.run(left, room):
            if state is not None and time.monotonic() >= due:
                began = time.monotonic()
                tally.save(state)
                took = time.monotonic() - began
                due = began + took + max(save_every, took / SAVING_SHARE)
            if progress:
                progress(len(numbers) - len(left) + done, len(numbers))
        tally.complete()
    except KeyboardInterrupt:
        if not tally.images:
            raise
        stopped = Scan.of(tally, net, source, partial="interrupted")
        hint = "" if state is None else "; --resume (resume=True) goes on"
        raise Interrupted(f"the scan was stopped{hint}", stopped) from None
    finally:
        if state is not None:
            tally.save(state)
    if not tally.images:
        if state is not None:
            Path(state).unlink(missing_ok=True)  # there is nothing in it to go on with
        found = Scan.of(tally, net, source)
        raise DataError(f"no image can be scanned{bad_images.first(found.bad)}")
    return Scan.of(tally, net, source)


@shielded
def merge(scans: Iterable[Scan]) -> Scan:
    """Return the scan of all images of several scans: that of one pass over all of them.

    But for the last digits of means, deviations and correlations.

    Args:
        scans: of parts of one data set (``scan(..., only=...)``) by one network, each image in one.

    Raises:
        DataError: if they were not scanned alike, or an image is in two of them.
    """
    parts = list(scans)
    if not parts:
        raise DataError("there is no scan to merge")
    tally = Tally.empty(parts[0].tally.facts)
    for part in parts:
        tally.merge(part.tally)
    return Scan.of(tally, parts[0].net, parts[0].source)


def _numbers(only: Sequence[int] | Integers | None, count: int) -> Integers:
    if only is None:
        return np.arange(count)
    numbers = np.unique(np.asarray(only, dtype=np.int64))
    if not len(numbers) or numbers[0] < 0 or numbers[-1] >= count:
        raise DataError(f"the images to scan must be some of 0 to {count - 1}")
    return numbers


def scan_facts(
    net: Network, source: Images, layers: Sequence[ScannedLayer], top: int, size: int
) -> dict[str, Any]:
    """Return what was scanned with what, fit for JSON."""
    return {
        "network": net.name,
        "weights": weights_hash(net),
        "notes": list(net.notes),
        "data": {"name": source.name, "images": len(source), "fingerprint": source.fingerprint()},
        "classes": list(source.classes),
        "answers": 0 if class_answers(source, net) is None else max(2, net.class_count),
        "top": top,
        "batch": size,
        "device": net.device.type,
        "dtype": str(net.dtype).removeprefix("torch."),
        "torch": torch.__version__,
        "layers": [layer.facts() for layer in layers],
    }
