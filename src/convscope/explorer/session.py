"""What the explorer's page may ask, answered from kept looks; knows nothing of servers."""

from __future__ import annotations

import dataclasses
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from convscope.atlas.atlas import Atlas, scanned_images
from convscope.display import Display, to_display
from convscope.errors import ConvscopeError, DataError, ImageError, UnitError
from convscope.explorer.album import Album, Leaf
from convscope.methods import budget
from convscope.methods.attribute import CAMS, PATHS, RECOMMENDED, attribute
from convscope.methods.budget import Progress
from convscope.methods.diagnose import diagnose
from convscope.methods.diagnosis.result import Diagnosis
from convscope.methods.look import Look, Reading
from convscope.methods.occlude.passes import filters_within
from convscope.methods.occlude.patches import default_patch, pair_of
from convscope.methods.pictures import Images, channel_names, read
from convscope.methods.projection import Projection
from convscope.methods.rules import chosen_rule
from convscope.methods.scanning import tiles
from convscope.methods.scanning.units import scanned_layers
from convscope.network import Network
from convscope.network.rules import RULES
from convscope.reading import decode_image

TILE = 56
"""Pixels that a feature map takes in the grid of a layer at most; larger ones are averaged."""

LOOKS = 4
"""Images whose maps are kept at once; the others go up again when they are looked at."""

TITLE = 100
"""The most letters of the name of a picture that is dropped on the page."""

PIXELS = 40_000_000
"""The most pixels of a picture that is dropped on the page."""

FOR_CLASSES = {f"recommended ({RECOMMENDED})": RECOMMENDED} | {
    name: name for name in (*CAMS, *PATHS) if name != "expected-gradients"
}
"""What the page calls the ways to a class that take no other images -> their own names."""

SIDE_BY_SIDE = ("deconvnet", "guided", "gradient")
"""The rules that the page shows of every unit."""

SECONDS = 20
"""How long the checks of one unit, or the slow part of a diagnosis, take at most."""

CLASSES = 5
"""Classes whose probabilities are shown."""

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
"""uint8 [H, W, 3], [H, W, 4] with opacity, or [H, W] of greys."""

Facts = dict[str, Any]


class Session:
    """A network, its images, and the looks at them that are kept.

    Any number of threads may ask; one is answered at a time. The arguments are those of
    :func:`convscope.explore`, *against* sessions of the other networks.
    """

    def __init__(
        self,
        net: Network,
        images: Images,
        titles: Sequence[str] | None = None,
        memory: int | str = budget.DEFAULT,
        against: Sequence[Session] = (),
        atlas: Atlas | None = None,
    ) -> None:
        self.net, self.memory = net.laid_out(), budget.parse_bytes(memory)
        checked, names = read(net, images, titles)
        self.album = Album((name, image[None]) for name, image in zip(names, checked, strict=True))
        self.sessions = (self, *against)
        if atlas is not None:
            _check_layers(atlas, net)
        self.atlas = atlas
        self.closed = False
        self._given = [*checked]
        self.examined: Any = self.atlas or self._given
        self._diagnosis: Diagnosis | None = None
        self._looks: OrderedDict[int, tuple[Leaf, Look]] = OrderedDict()
        self._turned = filters_within(self.memory)
        self.lock = threading.RLock()

    def of(self, network: int) -> Session:
        """Return the session of a network by its number, of which this one's is 0."""
        if not 0 <= network < len(self.sessions):
            raise ConvscopeError(f"there is no network {network}")
        return self.sessions[network]

    def at(self, step: int | None) -> Session:
        """Return the session at a checkpoint, of a training."""
        if step is not None:
            raise ConvscopeError("there are no checkpoints: this is no training")
        return self

    def news(self) -> dict[str, Any] | None:
        """Return what may change by itself: a training's checkpoints; None where nothing does."""
        return None

    def describe(self) -> Facts:
        """Return what the page needs to know of the network and the images."""
        net, own = self.net, convolutions(self.net)
        layers = [
            {
                "name": name,
                "op": one.op,
                "shape": one.shape,
                "field": one.receptive_field,
                "convolution": own.get(name),
            }
            for name, one in net.layers.items()
            if len(one.shape) in (1, 3)
        ]
        height, width = net.input_shape[1:]
        return {
            "network": net.name,
            "size": [height, width],
            "layers": layers,
            "networks": [session.net.name for session in self.sessions],
            "images": self.album.titles,
            "rules": meant(net, SIDE_BY_SIDE),
            "more": meant(net, (rule for rule in RULES if rule not in SIDE_BY_SIDE)),
            "methods": [] if net.answer is None else list(FOR_CLASSES),
            "atlas": [one["name"] for one in self.atlas.facts["layers"]] if self.atlas else [],
            "answer": None if net.answer is None else net.answer.kind,
            "notes": list(net.notes),
            "patch": default_patch((height, width)),
        }

    def add(self, content: bytes, title: str = "picture") -> int:
        """Take in a picture file's bytes and return its number.

        Raises:
            ImageError: if it is no picture, or too large.
        """
        title = title[:TITLE]
        picture = decode_image(content, title, PIXELS)
        return self._added(lambda own: Leaf(title, own.net.checked(own.net.preprocess(picture))))

    def frame(self, content: bytes, image: int | None = None) -> int:
        """Take in what a camera sees and return the number of that image.

        Args:
            content: red, green, blue and opacity of each pixel, at the size of the network's input.
            image: that of the frame before, which this one replaces.
        """
        height, width = self.net.input_shape[1:]
        if len(content) != 4 * height * width:
            raise ImageError(f"a frame has {4 * height * width} bytes, not {len(content)}")
        picture = Image.frombytes("RGBA", (width, height), content).convert("RGB")

        def leaf(own: Session) -> Leaf:
            squeezed = dataclasses.replace(own.net.preprocess, resize=None, range=None)
            return Leaf("camera", own.net.checked(squeezed(picture)))

        if image is None:
            return self._added(leaf)
        with self.lock:
            for own in self.sessions:
                own.album.renew(image, leaf(own).values)
        return image

    def paint(self, image: int, content: bytes, fill: str, patch: int) -> int:
        """Paint on an image and return the number of what that makes.

        Args:
            image: the number of what is painted on.
            content: a byte a pixel of the network's input, row by row: not 0 where the brush was.
            fill: what hides the pixels there, as of :func:`convscope.occlude`; or ``"erase"``.
            patch: the side of a patch, by which ``"blur"`` knows how far to blur.

        Raises:
            ImageError: if there are not as many bytes, none is set, or there is no such fill.
        """
        height, width = self.net.input_shape[1:]
        if len(content) != height * width:
            raise ImageError(f"a stroke has {height * width} bytes, not {len(content)}")
        mask = torch.frombuffer(bytearray(content), dtype=torch.uint8).view(1, 1, height, width)

        def leaf(own: Session) -> Leaf:
            size = own.net.input_shape[1:]
            fitting = functional.interpolate(mask, list(size))[0, 0].bool()
            side = pair_of(patch, "patch")[0]
            return own.album.painted(image, fitting, fill, own.net.preprocess, side)

        return self._added(leaf)

    def _added(self, leaf: Callable[[Session], Leaf]) -> int:
        """Take in an image, which every network sees its own way, and return its number."""
        with self.lock:
            leaves = [leaf(own) for own in self.sessions]
            numbers = {own.album.add(one) for own, one in zip(self.sessions, leaves, strict=True)}
        (number,) = numbers
        return number

    def look_at(self, image: int) -> Look:
        """Return the look at an image, which goes up the network where none is kept."""
        leaf = self.album[image]
        if image not in self._looks or self._looks[image][0] is not leaf:
            made = Look(self.net, leaf.values, leaf.title, self.memory, self._turned)
            self._looks[image] = leaf, made
            while len(self._looks) > LOOKS:
                self._looks.popitem(last=False)
        self._looks.move_to_end(image)
        return self._looks[image][1]

    def leaf(self, image: int) -> Leaf:
        """Return an image of the album, which another thread may be adding to."""
        with self.lock:
            return self.album[image]

    def picture(self, image: int) -> tuple[Facts, Pixels]:
        """Return an image as its pixels, [H, W, 3], and what it was painted on."""
        leaf = self.leaf(image)
        facts = {"title": leaf.title, "parent": leaf.parent, "origin": leaf.origin}
        return facts, tiles.picture(self.net.preprocess, leaf.values[0].cpu())

    def maps(self, image: int, layer: str) -> tuple[Facts, Pixels]:
        """Return a layer's feature maps side by side, each on a scale of its own, and their peaks.

        Zero is black where no map is below it, else mid-grey.
        """
        with self.lock:
            found = self.look_at(image).maps(layer).detach().cpu().float()
        maps = found if found.dim() == 3 else found[:, None, None]
        signed = bool((maps < 0).any())
        share = max(1, max(maps.shape[1:]) / TILE)
        height, width = (max(1, round(side / share)) for side in maps.shape[1:])
        shown = functional.adaptive_avg_pool2d(maps[None], (height, width))[0]
        largest = shown.abs().amax((1, 2), keepdim=True).clamp(min=torch.finfo(shown.dtype).tiny)
        shares = shown / largest
        grey = (127.5 + 127.5 * shares if signed else 255 * shares).nan_to_num(0)
        columns = math.ceil(math.sqrt(len(maps)))
        step = self.net.step(layer)
        numbers = range(len(maps))
        peaks = maps.amax((1, 2))
        typical = None if self.net.typical is None else self.net.typical.of(self.net.graph, step)
        facts = {
            "columns": columns,
            "tile": list(shown.shape[1:]),
            "map": list(maps.shape[1:]),
            "peaks": [float(peak) for peak in peaks],
            "relative": None if typical is None else (peaks / typical).tolist(),
            "names": channel_names(self.net, [step] * len(maps), numbers),
            "signed": signed,
        }
        return facts, mosaic(grey.round().byte(), columns, 0)

    def unit(
        self, image: int, layer: str, channel: int, position: tuple[int, int] | None,
        rule: str = "deconvnet",
    ) -> tuple[Facts, Pixels]:  # fmt: skip
        """Return what drives one unit, cropped to what it reads, and where that lies."""
        with self.lock:
            return self._drawn(self.look_at(image).project(layer, channel, position, rule))

    def attribution(
        self, image: int, layer: str, method: str, progress: Progress
    ) -> tuple[Facts, Pixels]:
        """Return what the most probable class hangs on; a class activation map is of *layer*.

        It may take long, and holds up nobody else.
        """
        values = self.leaf(image).values
        place, method = layer if method in CAMS else None, FOR_CLASSES.get(method, method)
        found = attribute(
            self.net, values, method=method, layer=place, memory=self.memory, progress=progress
        )
        return self._drawn(found)

    def _drawn(self, found: Projection) -> tuple[Facts, Pixels]:
        display = Display()
        shown = found.shown(0, 0, display)
        scale = display.scale_of(shown)
        facts = {
            "name": found.names[0][0],
            "activation": float(found.activation[0, 0]),
            "position": found.position[0, 0].tolist(),
            "window": found.window[0, 0].tolist(),
            "limit": scale.limit,
            "clipped": scale.clipped,
            "notes": [note for note in found.notes if note not in self.net.notes],
        }
        return facts, to_display(shown, scale)

    def read(
        self,
        image: int,
        layer: str | None = None,
        channel: int = 0,
        places: Sequence[tuple[int, int]] | None = None,
        patch: int | None = None,
        fill: str = "gray",
        classes: Sequence[int] = (),
    ) -> list[Facts]:
        """Return what the network says to an image, or with a patch at each of several places."""
        with self.lock:
            kept = self.look_at(image)
            if places is None:
                return [self._said(kept.read(layer, channel), classes)]
            found = kept.occlude_each(places, patch, fill, layer, channel)
        return [self._said(one, classes) for one in found]

    def intervene(
        self,
        image: int,
        layer: str,
        scale: dict[int, float],
        only: Sequence[int] | None = None,
        classes: Sequence[int] = (),
    ) -> Facts:
        """Return what the network says with channels of a layer scaled, off, or alone."""
        with self.lock:
            found = self.look_at(image).with_units(layer, scale=scale, only=only)
        return self._said(found, classes)

    def diagnosis(self, progress: Progress) -> Diagnosis:
        """Return what a diagnosis finds, which is made once, when it is first asked for.

        It is made from the images of the atlas, or else from those that were given at first.
        """
        if self._diagnosis is None:
            images, scanned = self.examined, None
            if isinstance(images, Atlas):
                scanned, folder = scanned_images(images.folder)
                images = scanned if folder is None else folder
            self._diagnosis = diagnose(
                self.net, images, scanned=scanned, budget=SECONDS, memory=self.memory,
                progress=progress,
            )  # fmt: skip
        return self._diagnosis

    def _said(self, found: Reading, classes: Sequence[int]) -> Facts:
        values = found.probability if found.probability is not None else found.number
        said: Facts = {"activation": found.activation, "predicted": found.predicted}
        if values is None:
            return {**said, "classes": []}
        if any(not 0 <= number < len(values) for number in classes):
            raise UnitError(f"{self.net.name} has outputs 0 to {len(values) - 1}")
        most = values.topk(min(CLASSES, len(values))).indices
        numbers = [*classes] or most.tolist()
        said["classes"] = [
            {"number": number, "name": self._named(number), "value": float(values[number])}
            for number in numbers
        ]
        if found.predicted is not None:
            said["name"] = self._named(found.predicted)
        return said

    def _named(self, number: int) -> str:
        names, answer = self.net.classes, self.net.answer
        noun = "output" if answer is None else answer.noun
        return names[number] if names else f"{noun} {number}"


def convolutions(net: Network) -> dict[str, str]:
    """Return the convolution of each layer that one has: itself, or where its units are read."""
    try:
        layers = scanned_layers(net)
    except ConvscopeError:  # there is none
        return {}
    return {name: one.name for one in layers for name in (one.name, one.read_at)}


def meant(net: Network, rules: Iterable[str]) -> list[str]:
    """Return those of some names that are rules which mean something on a network."""
    found = []
    for rule in rules:
        with suppress(ConvscopeError):
            chosen_rule(net, rule)
            found.append(rule)
    return found


def _check_layers(atlas: Atlas, net: Network) -> None:
    channels = {one.name: one.shape[0] for one in scanned_layers(net)}
    own = {one["name"]: one["channels"] for one in atlas.facts["layers"]}
    if not own.items() <= channels.items():
        raise DataError(
            f"{atlas.folder} is an atlas of {atlas.facts['network']}, whose layers are not those "
            f"of {net.name}"
        )


def mosaic(pictures: Tensor, across: int, ground: int) -> np.ndarray[Any, Any]:
    """Return pictures, uint8 [n, H, W, ...], in rows of so many; *ground* where there is none.

    >>> mosaic(torch.arange(3, dtype=torch.uint8).view(3, 1, 1), 2, 128).tolist()
    [[0, 1], [2, 128]]
    """
    count, height, width, *rest = pictures.shape
    rows = -(-max(count, 1) // across)
    padded = pictures.new_full((rows * across, height, width, *rest), ground)
    padded[:count] = pictures
    cells = padded.view(rows, across, height, width, *rest).transpose(1, 2)
    return cells.reshape(rows * height, across * width, *rest).numpy()
