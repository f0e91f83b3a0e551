"""The images that a method is asked about: tensors or files, each with a title."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from convscope.errors import ImageError
from convscope.network import Network
from convscope.reading import Picture

Images = Tensor | Picture | Sequence[Picture]
"""Images [N, C, H, W] in the network's input space, or picture files, or Pillow images."""


def read(net: Network, images: Images, titles: Sequence[str] | None) -> tuple[Tensor, list[str]]:
    """Return images as the network takes them, [N, C, H, W], with a title each.

    Without *titles* these are the names of the files, or numbers.
    """
    if isinstance(images, str | os.PathLike | Image.Image):
        images = [images]
    names: list[str] | None = None
    if not isinstance(images, Tensor) and isinstance(images, Sequence):
        pictures = list(images)
        if all(isinstance(one, str | os.PathLike | Image.Image) for one in pictures):
            names = [
                Path(one).name if isinstance(one, str | os.PathLike) else f"image {place}"
                for place, one in enumerate(pictures, start=1)
            ]
            images = net.preprocess.batch(pictures)
    checked = net.checked(images)  # type: ignore[arg-type]
    if titles is not None:
        names = list(map(str, titles))
    if names is None:
        names = ["image"] if len(checked) == 1 else [f"image {n + 1}" for n in range(len(checked))]
    if len(names) != len(checked):
        raise ImageError(f"there are {len(names)} titles for {len(checked)} images")
    return checked, names


def read_one(
    net: Network, image: Tensor | Picture, done: str, title: str | None = None
) -> tuple[Tensor, str]:
    """Return the one image, [1, C, H, W], that is *done* something to at a time, and its title."""
    checked, names = read(net, image, None if title is None else [title])
    if len(checked) > 1:
        raise ImageError(f"one image at a time is {done}, not {len(checked)}")
    return checked, names[0]


def with_answers(net: Network, titles: Sequence[str], answers: Tensor | None) -> tuple[str, ...]:
    """Return titles that say what a classifier takes each image for.

    The answers, [N, classes], are what ``net.answer`` reads; None where it names no classes.
    """
    if answers is None or net.classes is None or net.answer is None:
        return tuple(titles)
    chances, best = net.answer.probabilities(answers).max(dim=1)
    return tuple(
        f"{title}: {net.classes[number]} ({chance:.0%})"
        for title, number, chance in zip(titles, best.tolist(), chances.tolist(), strict=True)
    )


def channel_names(net: Network, steps: Sequence[int], channels: Sequence[int]) -> tuple[str, ...]:
    """Return what channels are called, each of its own step: where they are classes, by those."""
    named, classes = class_layers(net), net.classes or ()
    return tuple(
        f"{channel} {classes[channel]}" if step in named else f"channel {channel}"
        for step, channel in zip(steps, channels, strict=True)
    )


def class_layers(net: Network) -> set[int]:
    """Return the steps whose channels are the classes, from the last back to where they appear."""
    found: set[int] = set()
    graph, index = net.graph, net.graph.output
    count = len(net.classes or ())
    while index and count and graph.steps[index].shape[1:2] == torch.Size([count]):
        found.add(index)
        if len(graph.steps[index].inputs) != 1:
            break
        index = graph.steps[index].inputs[0]
    return found
