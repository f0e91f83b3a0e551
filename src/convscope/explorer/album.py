"""The images of the live page: those that it was given, and those that are made on it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from convscope.errors import ConvscopeError, ImageError
from convscope.images import Preprocess
from convscope.methods.occlude.patches import Cover, boxes_of, fill_for

MADE = 64
"""How many images that were made on the page are kept: the newest."""

ERASE = "erase"
"""What a brush paints with that brings back the image below."""


@dataclass(frozen=True, eq=False)
class Leaf:
    """An image of the page.

    Attributes:
        title: what it is called.
        values: [1, C, H, W], in the network's input space.
        parent: the image that a stroke of the brush was added to; None where there is none.
        origin: the image below all strokes; None where there is none.
    """

    title: str
    values: Tensor
    parent: int | None = None
    origin: int | None = None


class Album:
    """Images by number, of which those that are made on the page do not pile up for ever."""

    def __init__(self, images: Iterable[tuple[str, Tensor]]) -> None:
        self._leaves = {n: Leaf(title, values) for n, (title, values) in enumerate(images)}
        self._given = self._next = len(self._leaves)

    def __getitem__(self, number: int) -> Leaf:
        """Return an image, unless there is none of the number, or it is no longer kept."""
        if number in self._leaves:
            return self._leaves[number]
        gone = self._given <= number < self._next
        raise ConvscopeError(
            f"image {number} is no longer kept" if gone else f"there is no image {number}"
        )

    @property
    def titles(self) -> list[str | None]:
        """One an image, by number; None where it is painted, or no longer kept."""
        leaves = map(self._leaves.get, range(self._next))
        return [None if leaf is None or leaf.parent is not None else leaf.title for leaf in leaves]

    def add(self, leaf: Leaf) -> int:
        """Take in an image that was made on the page, and return its number."""
        number, self._next = self._next, self._next + 1
        self._leaves[number] = leaf
        if len(self._leaves) > self._given + MADE:
            del self._leaves[next(n for n in self._leaves if n >= self._given)]
        return number

    def renew(self, number: int, values: Tensor) -> None:
        """Put other values in the place of an image that was made on the page, as its newest."""
        leaf = self[number]
        if number < self._given:
            raise ConvscopeError(f"image {number} was given, and is not replaced")
        del self._leaves[number]
        self._leaves[number] = replace(leaf, values=values)

    def painted(
        self, number: int, mask: Tensor, fill: str, preprocess: Preprocess, side: int
    ) -> Leaf:
        """Return what an image becomes that is painted on; see :meth:`.Session.paint`."""
        leaf = self[number]
        origin = number if leaf.origin is None else leaf.origin
        below = self[origin].values
        if not mask.any():
            raise ImageError("the brush touched nothing")
        masks = mask[None, None].to(below.device)
        behind = below
        if fill != ERASE:
            chosen = fill_for(fill, below[0], preprocess, (side, side))
            behind = Cover(boxes_of(masks), chosen, masks).behind(below[0])
        return Leaf(leaf.title, torch.where(masks, behind, leaf.values), number, origin)
