"""Projection: what drives units in some images, brought down to pixels."""

from dataclasses import dataclass
from math import isnan
from typing import Any, ClassVar

import torch
from torch import Tensor

from convscope.display import Display, DisplayScale
from convscope.images import Preprocess
from convscope.network.rules import RULES, rule_named
from convscope.results import Result


@dataclass(frozen=True, eq=False, repr=False)
class Projection(Result):
    """What drives units of one or more layers in some images, brought down to pixels.

    Every image has K units, which may be of several layers. The tensors lie on the network's
    device, but for the windows, which lie on the CPU.

    Attributes:
        images: [N, C, H, W], what the network was shown, in its input space.
        pixels: [N, K, C, H, W], float, in the network's input space; zero where nothing arrives.
        activation: [N, K], the peak of each feature map, where the signal starts.
        relative: [N, K], the activation over what the channel typically reaches at its peak; NaN
            where that is not known.
        position: [N, K, 2], int64: row and column of that peak in the feature map.
        window: [N, K, 4], int64: top, left, bottom, right (the last two excluded) of the part of
            the image that the signal can come from: the peak's receptive field, or the map's.
        channels: [N, K], int64.
        names: what each image's units are called, [N][K]: ``"channel 3"``, or a class's name.
        layers: [K], the name of each unit's layer.
        receptive_fields: [K], height and width of what each signal can come from, borders apart.
        rule: a name in :data:`convscope.network.rules.RULES`.
        select: ``"peak"``, the strongest activation alone, or ``"map"``, the whole feature map.
        rank: how the strongest channels were found, ``"relative"`` or ``"raw"``; empty where they
            were given.
        reference: the images over which a channel's peak is typical, in words; empty without.
        network: the network's name.
        preprocess: takes inputs back to pixels.
        titles: one an image.
    """

    images: Tensor
    pixels: Tensor
    activation: Tensor
    relative: Tensor
    position: Tensor
    window: Tensor
    channels: Tensor
    names: tuple[tuple[str, ...], ...]
    layers: tuple[str, ...]
    receptive_fields: tuple[tuple[int, int], ...]
    rule: str
    select: str
    rank: str
    reference: str
    network: str
    preprocess: Preprocess
    titles: tuple[str, ...]

    figure: ClassVar[str] = "project"
    seen_only: ClassVar[tuple[str, ...]] = ("images", "pixels")
    measure: ClassVar[str] = "peak"
    """What the activation is called."""
    of_places: ClassVar[bool] = False
    """Whether the pixels are a map of places, none below zero, to be drawn over the image."""

    @property
    def how(self) -> Any:
        """The rule, with its name, its source, what it shows and what it keeps to."""
        return rule_named(self.rule)

    @property
    def caution(self) -> str:
        """What a picture must say of itself: that it is nearly the same whatever is asked for."""
        rule = RULES.get(self.rule)
        return rule.caution if rule and (rule.composite or self.measure == "score") else ""

    def adds_up(self, n: int, k: int) -> str:
        """Return what unit *k* of image *n* adds up to, in words, where it should to its number."""
        return ""

    @property
    def layer(self) -> str:
        """The layer, where all units are of one; else their names, separated by commas."""
        return ", ".join(dict.fromkeys(self.layers))

    @property
    def receptive_field(self) -> tuple[int, int]:
        """The first unit's receptive field, height and width."""
        return self.receptive_fields[0]

    def cropped(self, n: int, k: int) -> Tensor:
        """Return unit *k* of image *n* in its window, [C, h, w], in units of pixels in 0..1.

        Of relevance, a pixel's share in the unit's activation, the sum over channels, [1, h, w].
        """
        top, left, bottom, right = self.window[n, k].tolist()
        own = self.pixels[n, k].cpu()[:, top:bottom, left:right]
        return shown_values(self.preprocess, self.rule, own)

    def shown(self, n: int, k: int, display: Display) -> Tensor:
        """Return unit *k* of image *n* in its window, [1 or 3, h, w], in the colours asked for."""
        return display.coloured(self.cropped(n, k))

    def scales(
        self, scale: str = "tile", colour: str = "signed", contrast: str = "linear"
    ) -> list[list[DisplayScale]]:
        """Return the scale on which each unit is shown, one an image and unit.

        Args:
            scale: see :class:`~convscope.display.Display`, as for the others.
            colour: ``"signed"``, ``"luminance"`` or ``"normalised"``.
            contrast: ``"linear"`` or ``"root"``.

        Raises:
            ConvscopeError: if there is no such scale, colour or contrast.
        """
        display = Display(scale, colour, contrast)
        units = range(self.pixels.shape[1])
        values = [[self.shown(n, k, display) for k in units] for n in range(len(self.pixels))]
        if scale == "tile":
            return [[display.scale_of(tile) for tile in row] for row in values]
        shared = display.scale_of(
            torch.cat([tile.double().flatten() for row in values for tile in row])
        )
        return [[shared] * len(row) for row in values]

    def to_dict(
        self,
        *,
        scale: str = "tile",
        colour: str = "signed",
        contrast: str = "linear",
        **options: Any,
    ) -> dict[str, Any]:
        """Return all but the pixels, fit for JSON, with each unit's scale; see :meth:`scales`."""
        scales = self.scales(scale, colour, contrast)
        display = {
            "scale": scale,
            "colour": colour,
            "contrast": contrast,
            "quantile": scales[0][0].quantile,
            "limits": [[tile.limit for tile in row] for row in scales],
            "clipped": [[tile.clipped for tile in row] for row in scales],
        }
        return {**super().to_dict(), "display": display}

    def table(self) -> list[dict[str, Any]]:
        """Return a row a unit: image, layer, channel, its peak, where it lies and what it reads."""
        rows = []
        for n, title in enumerate(self.titles):
            for k, layer in enumerate(self.layers):
                row, column = self.position[n, k].tolist()
                top, left, bottom, right = self.window[n, k].tolist()
                rows.append(
                    {
                        "image": title, "layer": layer, "channel": int(self.channels[n, k]),
                        "name": self.names[n][k], "activation": float(self.activation[n, k]),
                        "relative": float(self.relative[n, k]), "row": row, "column": column,
                        "top": top, "left": left, "bottom": bottom, "right": right,
                    }
                )  # fmt: skip
        return rows

    def summary(self) -> str:
        """Return a line an image, and one a unit."""
        lines = []
        units, scales = len(self.layers), [scale for row in self.scales() for scale in row]
        for number, (row, scale) in enumerate(zip(self.table(), scales, strict=True)):
            if number % units == 0:
                lines.append(" ".join(row["image"].encode("utf-8", "replace").decode().split()))
            rows = f"rows {row['top']}-{row['bottom'] - 1}"
            columns = f"columns {row['left']}-{row['right'] - 1}"
            relative = row["relative"]
            times = "" if isnan(relative) else f" ({relative:.2f}× the typical one)"
            lines.append(
                f"  {row['layer']}  {row['name']}  peak {row['activation']:.4g}{times} at row "
                f"{row['row']}, column {row['column']}; reads {rows}, {columns}; "
                f"±{scale.limit:.3g}, {scale.clipped:.2%} clipped"
            )
        return "\n".join(lines)


def shown_values(preprocess: Preprocess, rule: str, pixels: Tensor) -> Tensor:
    """Return what came down to pixels [..., C, H, W] as it is shown.

    A signal is shown in units of pixels; of relevance a pixel has one number, the channels' sum.
    """
    if rule_named(rule).composite is None:
        return preprocess.difference_to_pixels(pixels)
    return pixels.sum(-3, keepdim=True)
