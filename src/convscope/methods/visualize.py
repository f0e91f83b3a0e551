"""Visualize: pictures that drive channels as far as they go, found by optimisation."""

import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from PIL import Image as PilImage
from torch import Tensor
from torch.nn import functional

from convscope.arguments import check_seed
from convscope.errors import Interrupted, UnitError, check_known
from convscope.images import Preprocess
from convscope.methods import budget, not_finite
from convscope.methods.pictures import channel_names
from convscope.methods.plate import AtlasUnit
from convscope.methods.project import SELECTIONS
from convscope.network import Network
from convscope.network.layers import LayerName
from convscope.network.shield import shielded
from convscope.network.windows.unit_pass import UnitPass
from convscope.results import Result
from convscope.samples import SAMPLES

FREQUENCIES = ("free", "natural")
RATE = 0.05
"""Of Adam, as Olah et al. (2017) have it."""

MARGIN = 8
"""The canvas is larger than what the unit reads by a part in so many on each side, to be moved."""

TURN, ENLARGED = 5.0, 0.05
"""Degrees and share by which a canvas is turned and scaled at most, either way, in a step."""

COLOURS = torch.tensor([[0.56, 0.19, 0.04], [0.58, 0.00, -0.11], [0.58, -0.19, 0.06]])
"""How the colours of ImageNet's pixels go together: a root of their covariance (Olah et al.)."""

LOUDNESS = 0.25
"""Of the frequencies, so that a step of the ascent moves a picture by little."""

PHOTOGRAPHS = tuple(sample for sample in SAMPLES if sample.file.endswith(".jpg"))

START = 0.01
"""Deviation of the random picture that each begins with, before it is squeezed into 0..1."""

VALUES_HELD = 3
"""Tensors alive at once for each value of a walk up: itself, its copy in a window, its gradient."""


@dataclass(frozen=True, eq=False, repr=False)
class Visualization(Result):
    """Pictures that drive channels of one layer, found by optimisation.

    Attributes:
        pixels: [U, C, H, W] in 0..1, one picture a channel.
        activation: [U], what each channel answers to its picture.
        typical: [U], what each typically reaches at its peak in real pictures; NaN if not known.
        channels: their numbers, and...
        names: ...what they are called: a class's channel by that.
        strongest: of each channel its strongest real patches; none if no atlas was given.
        layer: the layer's name.
        select: whether one unit was driven, ``"peak"``, or the mean of its map, ``"map"``.
        frequencies: whether their strengths were ``"free"``, or those of photographs.
        steps: of the ascent.
        seed: of its beginning.
        network: the network's name.
    """

    pixels: Tensor
    activation: Tensor
    typical: Tensor
    channels: tuple[int, ...]
    names: tuple[str, ...]
    strongest: tuple[AtlasUnit, ...]
    layer: str
    select: str
    frequencies: str
    steps: int
    seed: int
    network: str

    figure: ClassVar[str] = "visualize"

    def table(self) -> list[dict[str, Any]]:
        """Return a row a channel."""
        real = [float(u.peak[0]) if len(u.peak) else None for u in self.strongest]
        rows = zip(
            self.channels, self.names, self.activation.tolist(), self.typical.tolist(),
            real or [None] * len(self.channels), strict=True,
        )  # fmt: skip
        return [
            {"channel": channel, "name": name, "activation": own, "typical": typical, "real": peak}
            for channel, name, own, typical, peak in rows
        ]

    def to_dict(self, **options: Any) -> dict[str, Any]:
        """Return all but the pictures, fit for JSON."""
        return {**self.facts(), "rows": self.table()}

    def summary(self) -> str:
        """Return a line a channel: its activation, and that of the strongest real patch."""
        lines = [f"{self.network}, {self.layer}: activation of the optimised picture"]
        for row in self.table():
            beside = "" if row["real"] is None else f", strongest real patch {row['real']:.4g}"
            lines.append(f"  {row['channel']}: {row['activation']:.4g}{beside}")
        return "\n".join(lines)


@shielded
@budget.holding
def visualize(
    net: Network,
    layer: LayerName,
    channels: Sequence[int],
    *,
    select: str = "peak",
    frequencies: str = "free",
    atlas: Any = None,
    steps: int = 128,
    seed: int = 0,
    memory: int | str = budget.DEFAULT,
    progress: budget.Progress | None = None,
) -> Visualization:
    """Find a picture that drives each channel as far as it goes.

    By gradient ascent on the picture (Olah et al. 2017, "Feature visualization", distill.pub): its
    frequencies are what is moved, each by its share in natural pictures, and its colours apart; it
    is moved, turned and scaled a little before each step, so that what remains does not hang on
    single pixels. A unit at one position reads its receptive field alone, so no more than that is
    drawn, and many units are drawn at once.

    A picture that was optimised misleads where it stands alone: give an *atlas*, and the strongest
    real patches stand beside it, with the activation of either.

    Args:
        net: the network.
        layer: its name, or a module.
        channels: numbers of feature maps, or of classes where the layer has no maps.
        select: ``"peak"`` for one unit, in the middle of the map; ``"map"`` for the mean of the
            whole map, whose picture is as large as the network's input.
        frequencies: ``"free"``; or ``"natural"``, each as strong as in photographs, so that only
            their phases are found (MaCo, Fel et al. 2023, arXiv 2306.06805, sec. 3).
        atlas: a :class:`.Scan` of the network or an :class:`.Atlas`, with the layer in it.
        steps: of the ascent.
        seed: of the pictures that it begins with, and of how they are moved.
        memory: bytes, or a text such as ``"2GB"``; it decides how many channels go at once.
        progress: called with the steps done and the steps in all.

    Raises:
        UnitError: if there is no such layer or channel, or the network's input is no picture.
        Interrupted: on Ctrl-C, with the channels that are done as its ``result``.

    >>> import torch
    >>> from torch import nn
    >>> convolution = nn.Conv2d(1, 1, 3, bias=False)
    >>> _ = convolution.weight.data.copy_(torch.tensor([-1.0, 2, -1]))  # a bright line
    >>> net = Network(nn.Sequential(convolution, nn.ReLU()), torch.zeros(1, 1, 9, 9))
    >>> found = visualize(net, "1", [0])
    >>> (found.pixels[0, 0] > 0.5).int().tolist()
    [[0, 1, 0], [0, 1, 0], [0, 1, 0]]
    """
    check_known("select", select, SELECTIONS, UnitError)
    check_known("frequencies", frequencies, FREQUENCIES, UnitError)
    if steps < 1:
        raise UnitError(f"the number of steps must be at least 1, not {steps}")
    check_seed(seed)
    if frequencies == "natural" and net.input_shape[0] not in (1, 3):
        raise UnitError(
            f"photographs have 1 or 3 channels and the network's input {net.input_shape[0]}, whose "
            f"natural frequencies are not known: take 'free'"
        )
    step, chosen = net.step(layer), [int(channel) for channel in channels]
    if not chosen:
        raise UnitError("no channel was named")
    net.check_units(step, chosen)
    name = net.graph.steps[step].name
    if atlas is not None:
        atlas.check_weights(net)
    beside = () if atlas is None else atlas.plate(channels={name: chosen}).units
    work = _Ascent(net, step, select, frequencies, seed)
    pictures, partial = _pictures(work, chosen, steps, budget.parse_bytes(memory), progress)
    chosen = chosen[: len(pictures)]
    activation, notes = work.activation(pictures, chosen), net.notes
    bad = ~activation.isfinite()
    if bad.any():
        # A unit may read less than an image: what it reads is enlarged to one.
        enlarged = functional.interpolate(pictures[bad], net.input_shape[1:])
        inputs = net.preprocess.to_inputs(enlarged).to(net.dtype)
        told = not_finite.notes(net, net.checked(inputs), [step])
        notes += told or (f"values are not finite from layer {name!r} on",)
    typical = None if net.typical is None else net.typical.of(net.graph, step)
    found = Visualization(
        pixels=pictures,
        activation=activation,
        typical=torch.full((len(chosen),), math.nan) if typical is None else typical[chosen],
        channels=tuple(chosen),
        names=tuple(channel_names(net, [step] * len(chosen), chosen)),
        strongest=tuple(beside[: len(chosen)]),
        layer=name,
        select=select,
        frequencies=frequencies,
        steps=steps,
        seed=seed,
        network=net.name,
        notes=notes,
        partial=partial,
    )
    if partial:
        raise Interrupted("the visualization was stopped", found)
    return found


def _pictures(
    work: "_Ascent", channels: list[int], steps: int, memory: int, progress: budget.Progress | None
) -> tuple[Tensor, str]:
    """Return the pictures of the channels, [U, C, H, W], and why some are missing, if they are."""
    at_once = max(1, memory // work.bytes_a_unit)
    parts = [channels[begin : begin + at_once] for begin in range(0, len(channels), at_once)]
    pictures: list[Tensor] = []
    try:
        for number, part in enumerate(parts):
            for done in work.run(part, steps, pictures):
                if progress:
                    progress(number * steps + done, len(parts) * steps)
    except KeyboardInterrupt:
        if not pictures:
            raise
        return torch.cat(pictures), "interrupted"
    return torch.cat(pictures), ""


class _Ascent:
    """Gradient ascent for channels of one layer."""

    def __init__(self, net: Network, step: int, select: str, frequencies: str, seed: int) -> None:
        graph, shape = net.graph, net.graph.steps[step].shape
        place = None
        if select == "peak" and graph.is_map(step):
            rows, columns = graph.axes[step] or (2, 3)
            place = shape[rows] // 2, shape[columns] // 2
        self._read = UnitPass(graph, net.receptive_fields, step, place)
        self._preprocess: Preprocess = net.preprocess
        self._dtype = net.dtype
        # Frequencies have no half precision.
        precise = torch.promote_types(net.dtype, torch.float32)
        self._home = torch.empty(0, dtype=precise, device=net.device)
        self._seed = seed
        self.size = self._read.size
        self._canvas = [side + 2 * max(1, round(side / MARGIN)) for side in self.size]
        self._natural = self._amplitudes() if frequencies == "natural" else None
        self.bytes_a_unit = VALUES_HELD * self._read.values * torch.finfo(net.dtype).bits // 8

    def run(self, channels: Sequence[int], steps: int, pictures: list[Tensor]) -> Iterator[int]:
        """Yield the number of steps done; append the pictures of the channels in the end."""
        # Of its own for each channel: its picture does not hang on what goes with it.
        self._draws = [torch.Generator().manual_seed(self._seed + 2**32 * c) for c in channels]
        spectrum = self._begun().requires_grad_()
        optimizer = torch.optim.Adam([spectrum], lr=RATE)
        for done in range(1, steps + 1):
            with torch.enable_grad():
                windows = self._moved(self._painted(spectrum))
            slopes = self._slopes(windows.detach(), channels)
            (spectrum.grad,) = torch.autograd.grad(windows, spectrum, -slopes)
            optimizer.step()
            yield done
        with torch.no_grad():
            pictures.append(self._middle(self._painted(spectrum)).detach())

    def _slopes(self, windows: Tensor, channels: Sequence[int], *, leaks: bool = False) -> Tensor:
        """Return how each channel's answer changes with the pixels of its window, [U, C, H, W].

        Of one that is off, all round, it would be zero: there a little leaks through rectifiers
        (Olah et al. redirect gradients so, too), until the channel answers.
        """
        windows = windows.requires_grad_()
        with torch.enable_grad():
            inputs = self._preprocess.to_inputs(windows).to(self._dtype)
            answers = self._read(inputs, leaks=leaks)
            own = answers[torch.arange(len(channels)), list(channels)]
            (slopes,) = torch.autograd.grad(own.sum(), windows)
        slopes = slopes.nan_to_num(0.0, 0.0, 0.0)  # a picture is not lost by an answer that is none
        off = [] if leaks else (slopes.flatten(1).abs().amax(1) == 0).nonzero().flatten().tolist()
        if off:
            dead = [channels[place] for place in off]
            slopes[off] = self._slopes(windows.detach()[off], dead, leaks=True)
        return slopes

    def activation(self, pixels: Tensor, channels: Sequence[int]) -> Tensor:
        """Return what each channel answers to its picture, [U]."""
        with torch.no_grad():
            inputs = self._preprocess.to_inputs(pixels).to(self._dtype)
            return torch.cat([
                self._read(one[None])[:, channel]
                for one, channel in zip(inputs, channels, strict=True)
            ])  # fmt: skip

    def _chances(self, draw: Callable[..., Tensor], shape: Sequence[int]) -> Tensor:
        """Return random numbers of that shape for each channel."""
        drawn = [draw(shape, generator=own) for own in self._draws]
        return torch.stack(drawn).to(self._home)

    def _begun(self) -> Tensor:
        """Return random frequencies, [U, C, H, W // 2 + 1, 2], or their phases alone."""
        height, width = self._canvas
        shape = self._preprocess.channels, height, width // 2 + 1
        if self._natural is not None:
            return self._chances(torch.rand, shape) * 2 * math.pi
        return self._chances(torch.randn, (*shape, 2)) * START

    def _amplitudes(self) -> Tensor:
        """Return the mean amplitude of each frequency in photographs, [C, H, W // 2 + 1]."""
        height, width = self._canvas
        fitting = Preprocess.identity(self._preprocess.channels, (2 * height, 2 * width))
        pixels = fitting.batch(PilImage.open(io.BytesIO(own.content())) for own in PHOTOGRAPHS)
        crops = pixels.unfold(2, height, max(1, height // 2)).unfold(3, width, max(1, width // 2))
        crops = crops.permute(0, 2, 3, 1, 4, 5).flatten(0, 2).clamp(0.02, 0.98).logit()
        if crops.shape[1] == len(COLOURS):
            crops = torch.einsum("uchw,dc->udhw", crops, COLOURS.inverse())
        found: Tensor = torch.fft.rfft2(crops).abs().mean(0)
        found[:, 0, 0] = 0.0  # three photographs say nothing of the colour of all others
        return found.to(self._home)

    def _painted(self, spectrum: Tensor) -> Tensor:
        """Return pictures in 0..1, [U, C, H, W], of their frequencies."""
        height, width = self._canvas
        if self._natural is None:
            rows, columns = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
            frequency = (rows**2 + columns**2).sqrt().clamp(min=1 / max(height, width))
            # Natural pictures have amplitudes that fall as one over the frequency (Field 1987).
            share = (LOUDNESS * math.sqrt(height * width) / frequency).to(spectrum)
            complexes = torch.view_as_complex(spectrum) * share
        else:
            complexes = torch.polar(self._natural.expand_as(spectrum), spectrum)
        values: Tensor = torch.fft.irfft2(complexes, s=(height, width))
        if values.shape[1] == len(COLOURS):
            values = torch.einsum("uchw,dc->udhw", values, COLOURS.to(values))
        return values.sigmoid()

    def _moved(self, canvas: Tensor) -> Tensor:
        """Return the middle of each canvas, moved, turned and scaled by chance."""
        count, (height, width) = len(canvas), self.size
        chance = self._chances(torch.rand, (4,)).T * 2 - 1
        angle, scale = chance[0] * math.radians(TURN), 1 + chance[1] * ENLARGED
        whole_h, whole_w = self._canvas
        down, across = (
            chance[2 + axis] * (1 - part / whole) / 2
            for axis, (part, whole) in enumerate(zip(self.size, self._canvas, strict=True))
        )
        # From the window's coordinates, -1 to 1, to the canvas's, which turn in pixels, not shares.
        cosine, sine = scale * angle.cos(), scale * angle.sin()
        theta = torch.stack([
            torch.stack([cosine * width / whole_w, -sine * height / whole_w, across], 1),
            torch.stack([sine * width / whole_h, cosine * height / whole_h, down], 1),
        ], 1)  # fmt: skip
        grid = functional.affine_grid(
            theta, [count, canvas.shape[1], height, width], align_corners=False
        )
        return functional.grid_sample(canvas, grid, padding_mode="reflection", align_corners=False)

    def _middle(self, canvas: Tensor) -> Tensor:
        (top, left) = ((w - p) // 2 for w, p in zip(self._canvas, self.size, strict=True))
        return canvas[:, :, top : top + self.size[0], left : left + self.size[1]]
