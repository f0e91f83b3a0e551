"""What the page says of a channel beyond an image: kernel, patches, wishes, faults, trust."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convscope.atlas.atlas import Atlas, scanned_images
from convscope.display import Display, presentable, to_display
from convscope.errors import ConvscopeError, DataError, UnitError
from convscope.methods.diagnose import diagnose
from convscope.methods.diagnosis.result import Diagnosis
from convscope.methods.kernels import channel_kernels
from convscope.methods.rules import chosen_rule
from convscope.methods.sanity import sanity
from convscope.methods.scanning.units import scanned_layers
from convscope.methods.visualize import visualize
from convscope.network import Network
from convscope.wording import counted

SIDE_BY_SIDE = ("deconvnet", "guided", "gradient")
"""The rules that the page shows of every unit."""

KERNELS = 9
"""Input channels whose kernels are shown: the strongest."""

COLOURS = 3
"""Input channels whose kernel is shown as a colour picture: those of an image."""

ACROSS = 3
"""Patches of an atlas in a row; as many rows of them at most."""

GREY = 128
SECONDS = 20
"""How long the checks of one unit, or the slow part of a diagnosis, take at most."""

SEEDS, OTHERS = 2, 5
"""Random networks, and other units, that a unit is compared with."""

STEPS = 64
"""Of the ascent to the picture that a channel wants: half of the usual, while somebody waits."""

Facts = dict[str, Any]
Progress = Callable[[int, int], None]


def convolutions(net: Network) -> dict[str, str]:
    """Return the convolution of each layer that one has: itself, or where its units are read."""
    try:
        layers = scanned_layers(net)
    except ConvscopeError:  # there is none
        return {}
    return {name: one.name for one in layers for name in (one.name, one.read_at)}


def kernel(net: Network, layer: str, channel: int) -> tuple[Facts, np.ndarray[Any, Any]]:
    """Return a channel's kernel: in colour if it reads three maps, else the strongest of it.

    Those of single input channels lie side by side, on one scale.

    Raises:
        UnitError: if the layer is no convolution's, or has no such channel.
    """
    (scanned,) = scanned_layers(net, layer)
    net.check_units(scanned.step, (channel,))
    own = channel_kernels(net, scanned)[channel]
    inputs, height, width = own.shape
    strongest = own.flatten(1).norm(dim=1).argsort(descending=True, stable=True)[:KERNELS]
    shown = own[None] if inputs == COLOURS else own[strongest][:, None]
    scale = Display().scale_of(shown)
    facts = {
        "convolution": scanned.name,
        "size": [height, width],
        "inputs": [] if inputs == COLOURS else strongest.tolist(),
        "of": inputs,
        "limit": scale.limit,
    }
    return facts, np.hstack([*to_display(shown, scale)])


def meant(net: Network, rules: Iterable[str]) -> list[str]:
    """Return those of some names that are rules which mean something on a network."""
    found = []
    for rule in rules:
        with suppress(ConvscopeError):
            chosen_rule(net, rule)
            found.append(rule)
    return found


def trust(
    net: Network, image: Tensor, layer: str, channel: int, more: str, memory: int,
    progress: Progress,
) -> Facts:  # fmt: skip
    """Return how much of a unit's picture stays, rule by rule, when what it claims to show changes.

    Raises:
        ConvscopeError: if *progress* does.
    """
    rules = meant(net, dict.fromkeys((*SIDE_BY_SIDE, more)))
    try:
        found = sanity(
            net, image, None, layer, channel, rules=rules, seeds=SEEDS, others=OTHERS,
            memory=memory, budget=SECONDS, progress=progress,
        )  # fmt: skip
    except ConvscopeError as error:
        return {"changes": [], "rules": {}, "note": str(error)}
    last = len(found.layers) - 1
    tests = {"random weights": ("randomised", last), "another unit": ("units", None)}
    if found.other is not None:
        tests["other switches"] = ("switches", None)
    kept = {rule: [found.kept(rule, *test) for test in tests.values()] for rule in rules}
    note = (
        f"What stays of the picture when this is changed, beyond what noise keeps: the less, the "
        f"more it shows. {counted(len(found.seeds), 'random network')}, "
        f"{counted(len(found.other_units), 'other unit')}"
    )
    if found.partial:
        note += f"; stopped after {SECONDS} seconds"
    return {
        "changes": list(tests),
        "rules": {
            rule: [f"{one.share:.0%}" if one.word else "noise" if one.known else "" for one in own]
            for rule, own in kept.items()
        },
        "note": note,
    }


def wanted(
    net: Network, atlas: Atlas | None, patch: tuple[Facts, Tensor], layer: str, channel: int,
    memory: int, progress: Progress,
) -> tuple[Facts, np.ndarray[Any, Any]]:  # fmt: skip
    """Return the picture that drives a channel most, beside a real patch that drives it.

    Args:
        net: the network.
        atlas: whose strongest patch is taken, if the layer is in it.
        patch: else, what is known of the patch, and the patch, [C, H, W] in 0..1.
        layer: the layer.
        channel: the channel.
        memory: bytes for the ascent.
        progress: called with the steps done and the steps in all.
    """
    found = visualize(net, layer, [channel], steps=STEPS, memory=memory, progress=progress)
    facts, real = patch
    if atlas is not None:
        with suppress(UnitError):  # it has not every layer
            unit = atlas.unit(layer, channel)
            if len(unit.patches):
                facts = {"real": float(unit.peak[0]), "title": unit.titles[0]}
                real = unit.patches[0].movedim(2, 0) / 255
    made, real = (presentable(one[None])[0].clamp(0, 1) for one in (found.pixels[0], real))
    side = max(*made.shape[1:], *real.shape[1:])
    both = torch.full((3, side, 2 * side), GREY / 255)
    for place, one in enumerate((made, real)):
        height, width = one.shape[1:]
        top, left = (side - height) // 2, place * side + (side - width) // 2
        both[:, top : top + height, left : left + width] = one
    pixels = (both * 255).round().byte().movedim(0, 2).numpy()
    return {"activation": float(found.activation[0]), "steps": STEPS, **facts}, pixels


class Faults:
    """What a diagnosis says of each layer; it is made once, when it is first asked for.

    Args:
        net: the network.
        images: what it is made from, where there is no atlas; [C, H, W] each.
        atlas: the folder of one.
        memory: bytes for the maps.
    """

    def __init__(self, net: Network, images: list[Tensor], atlas: Atlas | None, memory: int):
        self.net, self.images, self.atlas, self.memory = net, images, atlas, memory
        self._found: Diagnosis | None = None

    def of(self, layer: str, channel: int, progress: Progress) -> Facts:
        """Return the faults of a layer, and whether they are those of a channel too."""
        found = self._diagnosis(progress)
        name = convolutions(self.net).get(layer, layer)
        own = [one for one in found.findings if one.layer in (name, layer)]
        causes = [one for one in found.findings if name in one.above]
        said = [
            {"sentence": one.sentence, "own": one in own and channel in one.channels}
            for one in (*own, *causes)
        ]
        told = {name, layer, *(one.layer for one in causes)}
        elsewhere = sorted({one.layer for one in found.findings} - told)
        few = found.images < found.thresholds.images
        note = f"from {found.images} images of {found.data}" + (
            ": too few to call a unit dead" if few else ""
        )
        return {"faults": said, "elsewhere": elsewhere, "note": note}

    def _diagnosis(self, progress: Progress) -> Diagnosis:
        if self._found is None:
            images: Any = self.images
            scanned = None
            if self.atlas is not None:
                scanned, folder = scanned_images(self.atlas.folder)
                images = scanned if folder is None else folder
            self._found = diagnose(
                self.net, images, scanned=scanned, budget=SECONDS, memory=self.memory,
                progress=progress,
            )  # fmt: skip
        return self._found


def checked_atlas(atlas: Atlas, net: Network) -> Atlas:
    """Return an atlas if it is one of a network.

    Raises:
        DataError: if it is one of another.
    """
    channels = {one.name: one.shape[0] for one in scanned_layers(net)}
    own = {one["name"]: one["channels"] for one in atlas.facts["layers"]}
    if not own.items() <= channels.items():
        raise DataError(
            f"{atlas.folder} is an atlas of {atlas.facts['network']}, whose layers are not those "
            f"of {net.name}"
        )
    return atlas


def patches(atlas: Atlas, layer: str, channel: int) -> tuple[Facts, np.ndarray[Any, Any]]:
    """Return a channel's strongest patches, three in a row, and right of them their projections.

    Raises:
        UnitError: if the atlas has no such layer or channel.
        DataError: if its files are damaged.
    """
    unit = atlas.unit(layer, channel)
    count = min(len(unit.patches), ACROSS**2)
    facts = {
        "count": count,
        "images": unit.images,
        "data": unit.data,
        "rule": unit.rule,
        "titles": list(unit.titles[:count]),
        "peaks": unit.peak[:count].tolist(),
    }
    halves = [mosaic(own[:count], ACROSS, GREY) for own in (unit.patches, unit.projections)]
    return facts, np.hstack(halves)


def mosaic(tiles: Tensor, across: int, ground: int) -> np.ndarray[Any, Any]:
    """Return tiles, uint8 [n, H, W, ...], in rows of so many; *ground* where there is none.

    >>> mosaic(torch.arange(3, dtype=torch.uint8).view(3, 1, 1), 2, 128).tolist()
    [[0, 1], [2, 128]]
    """
    count, height, width, *rest = tiles.shape
    rows = -(-max(count, 1) // across)
    padded = tiles.new_full((rows * across, height, width, *rest), ground)
    padded[:count] = tiles
    cells = padded.view(rows, across, height, width, *rest).transpose(1, 2)
    return cells.reshape(rows * height, across * width, *rest).numpy()
