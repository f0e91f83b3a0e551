"""The patch sliding over the image, with the probabilities beside it, as an animation."""

import os

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from convscope.figures.lettering import one_line
from convscope.figures.occlusion import class_name
from convscope.figures.sheet import picture_of
from convscope.images import Preprocess
from convscope.methods.occlusion import Occlusion
from convscope.methods.passes import painted
from convscope.methods.patches import Cover, Fill
from convscope.network.windowed import Placement

SIDE = 320
BESIDE = 300
MOST_FRAMES = 150
MILLISECONDS = 90
FOOT, LINE, EDGE = 12, 16, 8
INK, PALE, BAR, MARK = (34, 34, 34), (225, 225, 225), (31, 119, 180), (214, 39, 40)
WARNING = (176, 0, 32)


def save_animation(
    path: str | os.PathLike[str],
    occlusion: Occlusion,
    image: Tensor,
    fill: Fill,
    preprocess: Preprocess,
    title: str = "",
) -> None:
    """Write a GIF of the patch sliding over the image, row by row.

    Where there are more positions than frames are good for, evenly spaced ones are shown.

    Args:
        path: the file.
        occlusion: of a classifier, or of a unit.
        image: [C, H, W] in the network's input space.
        fill: what the patch is filled with.
        preprocess: takes inputs back to pixels.
        title: what the image is.

    """
    computed = np.flatnonzero(occlusion.computed.numpy().ravel())
    shown = computed[np.unique(np.linspace(0, len(computed) - 1, MOST_FRAMES).astype(int))]
    foot = _foot(occlusion, title, len(shown))
    frames = [
        _above(_frame(occlusion, int(place), image, fill, preprocess), foot) for place in shown
    ]
    frames[0].save(
        path, save_all=True, append_images=frames[1:], duration=MILLISECONDS, loop=0, format="GIF"
    )


def _foot(o: Occlusion, title: str, shown: int) -> Image.Image:
    """Return what stands below every frame: what the film is, and in red what it must say."""
    font, room = ImageFont.load_default(FOOT), SIDE + BESIDE - 2 * EDGE
    facts = (
        o.network, title, f"{o.part} ({o.fill})",
        f"layer {o.layer}" if o.layer else "",
        "red mark on a bar: unoccluded" if o.probability is not None else "",
        f"{shown} of {o.computed.numel()} positions",
    )  # fmt: skip
    told = ((", ".join(filter(None, facts)), INK), ("; ".join(o.notes), WARNING))
    lines = [(line, ink) for text, ink in told for line in _wrapped(one_line(text), font, room)]
    foot = Image.new("RGB", (SIDE + BESIDE, len(lines) * LINE + EDGE), "white")
    draw = ImageDraw.Draw(foot)
    for place, (line, ink) in enumerate(lines):
        draw.text((EDGE, EDGE / 2 + place * LINE), line, ink, font)
    return foot


def _wrapped(
    text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: float
) -> list[str]:
    """Return text in lines no wider than *room* pixels; a longer word is cut."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if font.getlength(longer) <= room:
            lines[-1] = longer
        else:
            fits = (n for n in range(len(word), 0, -1) if font.getlength(word[:n]) <= room)
            lines.append(word[: next(fits)])
    return [line for line in lines if line]


def _above(frame: Image.Image, foot: Image.Image) -> Image.Image:
    whole = Image.new("RGB", (frame.width, frame.height + foot.height), "white")
    whole.paste(frame, (0, 0))
    whole.paste(foot, (0, frame.height))
    return whole


def _frame(
    o: Occlusion, place: int, image: Tensor, fill: Fill, preprocess: Preprocess
) -> Image.Image:
    hidden = patched(o, place, image, fill)
    pixels = picture_of(preprocess.to_pixels(hidden[None].cpu()))[0]
    height, width = o.image_size
    scale = SIDE / max(height, width)
    picture = Image.fromarray(np.rint(pixels * 255).astype(np.uint8)).resize(
        (round(width * scale), round(height * scale)), Image.Resampling.NEAREST
    )
    frame = Image.new("RGB", (SIDE + BESIDE, SIDE), "white")
    frame.paste(picture, (0, 0))
    draw = ImageDraw.Draw(frame)
    top, left, bottom, right = (o.positions.view(-1, 4)[place] * scale).tolist()
    draw.rectangle((left, top, right - 1, bottom - 1), outline=MARK, width=2)
    _write_numbers(draw, o, place)
    return frame


def _write_numbers(draw: ImageDraw.ImageDraw, o: Occlusion, place: int) -> None:
    font, line = ImageFont.load_default(13), 16
    across, down = SIDE + line, line
    for single in o.singles() if o.probability is not None else []:
        assert single.probability is not None
        assert isinstance(single.targets, int)
        chance, clean = single.probability.flatten()[place].item(), single.clean["probability"]
        name = class_name(single, single.targets)[:30]
        draw.text((across, down), f"P({name}) {chance:.2f}", INK, font)
        down += line + 3
        room = BESIDE - 2 * line
        draw.rectangle((across, down, across + room, down + 10), PALE)
        draw.rectangle((across, down, across + max(1, round(chance * room)), down + 10), BAR)
        mark = across + clean * room  # the clean image's
        draw.line((mark, down - 2, mark, down + 12), MARK, 2)
        down += line + 8
    if o.predicted is not None:
        now = class_name(o, int(o.predicted.flatten()[place]))[:34]
        draw.text((across, down), "most probable:", INK, font)
        draw.text((across, down + line), now, INK, font)
        down += 3 * line
    if o.activation is not None:
        value, clean = o.activation.flatten()[place].item(), o.clean["activation"]
        share = f" ({value / clean:.0%} of unoccluded)" if clean > 0 else ""
        draw.text((across, down), f"channel {o.channel}: {value:.4g}{share}", INK, font)
        down += line + 8
    for single in o.singles() if o.number is not None else []:
        assert single.number is not None
        assert isinstance(single.targets, int)
        name, value = class_name(single, single.targets)[:30], single.number.flatten()[place].item()
        told = f"{name}: {value:.4g} (unoccluded: {single.clean['number']:.4g})"
        draw.text((across, down), told, INK, font)
        down += line + 3


def patched(o: Occlusion, place: int, image: Tensor, fill: Fill) -> Tensor:
    """Return the image with one part hidden, by the part's number in the grid, [C, H, W]."""
    zero, masks = np.zeros(1, dtype=np.int64), o.masks
    if masks is not None:
        masks = masks[place : place + 1].expand(-1, -1, *o.image_size).to(image.device)
    cover = Cover(o.positions.reshape(-1, 4)[place : place + 1].numpy(), fill, masks)
    return torch.squeeze(painted(image, cover, Placement(zero, zero, *o.image_size)), 0)
