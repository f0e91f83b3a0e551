"""Occlusion: what hiding parts of an image did to a network's answer."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from convscope.errors import UnitError, near_matches
from convscope.results import Result

KINDS = ("probability", "logit", "number", "activation")


@dataclass(frozen=True, eq=False, repr=False)
class Occlusion(Result):
    """What a network says of one image with a patch over each position of a grid.

    All tensors lie on the CPU. R x S is the grid; T stands for the targets and is there only where
    a list of them was asked for. What was not computed is NaN (-1 in ``predicted``) if the work was
    stopped, and estimated from its neighbours with the method ``"adaptive"``.

    Attributes:
        positions: [R, S, 4], int64: top, left, bottom, right (the last two excluded) of the patch.
        computed: [R, S], bool: whether the network was asked; the rest is estimated or missing.
        probability: [R, S] or [T, R, S], 0 to 1, that of the target; None if the output is numbers
            or nothing that a target can be chosen of.
        logit: the same for the logit: what the network makes the probability of by a softmax or a
            sigmoid.
        number: the same where the output is numbers.
        predicted: [R, S], int64: the most probable class; None as the probability.
        activation: [R, S]: the sum of the unit's feature map; None without a layer.
        clean: the same numbers of the image as it is, by the names above: a number, or one a
            target.
        targets: the class, or the classes, that ``probability``, ``logit`` and ``number`` are of.
        answer: what the output was taken for: ``"classes"``, ``"labels"`` or ``"number"``; None if
            it was not looked at.
        output: the same in more words.
        classes: names of the classes that occur in ``targets`` and ``predicted``, by number.
        layer: name of the unit's layer.
        channel: its channel.
        patch: height and width of the patch, in pixels; of masks, of the largest one's rectangle.
        stride: pixels from one position to the next, down and across; 0 for masks.
        fill: what hid the pixels.
        method: ``"exact"``, ``"full"`` or ``"adaptive"``.
        network: the network's name.
        image_size: height and width of the image, in pixels.
        masks: [M, 1 or C, H, W], bool: the parts that were hidden, if they were no patches; the
            grid is then [1, M].

    """

    positions: Tensor
    computed: Tensor
    clean: dict[str, Any]
    targets: int | tuple[int, ...] | None
    classes: dict[str, str]
    layer: str | None
    channel: int | None
    patch: tuple[int, int]
    stride: tuple[int, int]
    fill: str
    method: str
    network: str
    image_size: tuple[int, int]
    probability: Tensor | None = None
    logit: Tensor | None = None
    number: Tensor | None = None
    predicted: Tensor | None = None
    activation: Tensor | None = None
    masks: Tensor | None = None
    answer: str | None = None
    output: str = ""

    @property
    def part(self) -> str:
        """What was hidden at each position, in words."""
        if self.masks is None:
            return f"patch {self.patch[0]} x {self.patch[1]}"
        return f"one of {len(self.masks)} {'masks' if self.masks.shape[1] == 1 else 'channels'}"

    @property
    def kind(self) -> str:
        """The quantity that a picture shows first: ``"probability"``, where there is one."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    def values(self, kind: str) -> Tensor:
        """Return ``probability``, ``logit``, ``number`` or ``activation`` by its name.

        Raises:
            UnitError: if there is no such quantity, or it was not asked for.

        """
        if kind not in KINDS:
            raise UnitError(
                f"a heatmap is of one of {', '.join(KINDS)}, not of {kind!r}"
                f"{near_matches(kind, KINDS)}"
            )
        found: Tensor | None = getattr(self, kind)
        if found is None:
            own = self.output or "a map only"
            why = "no layer was named" if kind == "activation" else f"it is of {own}"
            raise UnitError(f"there is no {kind} in this occlusion: {why}")
        return found

    def singles(self) -> "list[Occlusion]":
        """Return one occlusion a target; itself alone where there is no list of them."""
        if not isinstance(self.targets, tuple):
            return [self]
        own = [name for name in KINDS[:3] if getattr(self, name) is not None]
        return [
            replace(
                self,
                targets=target,
                clean={n: v[place] if n in own else v for n, v in self.clean.items()},
                **{name: getattr(self, name)[place] for name in own},
            )
            for place, target in enumerate(self.targets)
        ]

    def drop(self, kind: str | None = None) -> Tensor:
        """Return by how much hiding each position lowers a quantity, [R, S] or [T, R, S].

        Of the quantity :attr:`kind` by default.
        """
        kind = kind or self.kind
        values = self.values(kind)
        clean = values.new_tensor(self.clean[kind])
        return clean.reshape(-1, 1, 1).expand_as(values) - values if clean.dim() else clean - values

    def heatmap(self, kind: str | None = None) -> Tensor:
        """Return the mean drop over the patches that cover each pixel.

        It equals captum's ``Occlusion`` for the same windows, strides and baseline.

        Args:
            kind: ``"probability"``, ``"logit"``, ``"number"`` or ``"activation"``; by default the
                first of them that there is.

        Returns:
            [H, W] or [T, H, W]; NaN where no patch lies, as between patches further apart than
            their size.

        Raises:
            UnitError: if there is no such quantity, or it was not asked for.

        """
        drop = self.drop(kind)
        return self.over_pixels(drop).to(drop)

    def over_pixels(self, values: Tensor) -> Tensor:
        """Return the mean of *values*, [..., R, S], over what covers each pixel, [..., H, W]."""
        values = values.double()
        known = ~values.isnan()
        total = self._spread(values.nan_to_num(0.0))
        count = self._spread(known.double()).round()
        return torch.where(count > 0, total / count.clamp(min=1), torch.nan)

    def _spread(self, values: Tensor) -> Tensor:
        """Return the sum at each pixel over the patches that cover it, [..., H, W]."""
        if self.masks is not None:
            covers = self.masks.any(1).double().expand(-1, *self.image_size).flatten(1)
            return (values @ covers).reshape(*values.shape[:-2], *self.image_size)
        height, width = self.image_size
        flat = values.reshape(-1, values.shape[-2] * values.shape[-1])
        top, left, bottom, right = self.positions.reshape(-1, 4).unbind(1)
        # Each patch adds its value in its corner and takes it away beyond its ends: two running
        # sums then fill the rectangle.
        steps = flat.new_zeros(len(flat), (height + 1) * (width + 1))
        for row, column, sign in ((top, left, 1), (top, right, -1), (bottom, left, -1), (bottom, right, 1)):  # fmt: skip # noqa: E501
            steps.index_add_(1, row * (width + 1) + column, sign * flat)
        sums = steps.view(-1, height + 1, width + 1).cumsum(1).cumsum(2)[:, :height, :width]
        return sums.reshape(*values.shape[:-2], height, width)

    def facts(self) -> dict[str, Any]:
        """Return everything but the tensors, fit for JSON."""
        names = ("probability", "logit", "number", "predicted", "activation", "masks")
        return {
            name: value
            for name, value in super().facts().items()
            if name not in names or value is not None
        }
