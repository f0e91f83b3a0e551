"""The patch sliding over the image, with the probabilities beside it, as a film."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from convscope.figures.film import Film, Frame
from convscope.figures.lettering import one_line, wrapped
from convscope.figures.occlude import class_name, target_name
from convscope.figures.sheet import picture_of
from convscope.methods.budget import evenly
from convscope.methods.occlude.result import Occlusion, Occlusions
from convscope.wording import fill_word

SIDE = 320
BESIDE = 300
MOST_FRAMES = 150
SECONDS = 0.1
FOOT, LINE, EDGE = 12, 16, 8
INK, PALE, BAR, MARK = (34, 34, 34), (225, 225, 225), (31, 119, 180), (214, 39, 40)
WARNING = (176, 0, 32)


def film(result: Occlusion | Occlusions) -> Film:
    """Return a film of the patch sliding over each image, row by row, one image after another.

    Where there are more positions than frames are good for, evenly spaced ones are shown.
    """
    maps = [result] if isinstance(result, Occlusion) else list(result)
    shown = [_shown(one, max(1, MOST_FRAMES // len(maps))) for one in maps]
    feet = [_foot(one, len(places)) for one, places in zip(maps, shown, strict=True)]
    height = SIDE + max(foot.height for foot in feet)

    def frames() -> Iterator[Frame]:
        for one, places, foot in zip(maps, shown, feet, strict=True):
            for place in places.tolist():
                yield _above(_frame(one, place), foot, height)

    # Of one image all frames have the same colours.
    firsts = [
        _above(_frame(one, int(places[0])), foot, height)
        for one, places, foot in zip(maps, shown, feet, strict=True)
    ]
    return Film(frames, (SECONDS,) * sum(map(len, shown)), np.concatenate(firsts))


def _shown(o: Occlusion, most: int) -> npt.NDArray[np.int64]:
    computed = np.flatnonzero(o.computed.numpy().ravel())
    return np.asarray(computed[evenly(len(computed), most)])


def _foot(o: Occlusion, shown: int) -> Image.Image:
    """Return what stands below every frame: what the film is, and in red what it must say."""
    font, room = ImageFont.load_default(FOOT), SIDE + BESIDE - 2 * EDGE

    def width(text: str, *_: object) -> float:
        return font.getlength(text)

    facts = (
        o.network, o.title, f"{o.part} ({fill_word(o.fill)})",
        f"layer {o.layer}" if o.layer else "",
        "red mark on a bar: unoccluded" if o.probability is not None else "",
        f"{shown} of {o.computed.numel()} positions",
    )  # fmt: skip
    told = ((", ".join(filter(None, facts)), INK), ("; ".join(o.notes), WARNING))
    lines = [
        (line, ink)
        for text, ink in told
        for line in wrapped(one_line(text), room, FOOT, width=width)
    ]
    foot = Image.new("RGB", (SIDE + BESIDE, len(lines) * LINE + EDGE), "white")
    draw = ImageDraw.Draw(foot)
    for place, (line, ink) in enumerate(lines):
        draw.text((EDGE, EDGE / 2 + place * LINE), line, ink, font)
    return foot


def _above(frame: Image.Image, foot: Image.Image, height: int) -> Frame:
    """Return a frame above its foot, in a picture so high."""
    whole = Image.new("RGB", (frame.width, height), "white")
    whole.paste(frame, (0, 0))
    whole.paste(foot, (0, frame.height))
    return np.asarray(whole)


def _frame(o: Occlusion, place: int) -> Image.Image:
    pixels = picture_of(o.preprocess.to_pixels(o.hidden(place)[None]))[0]
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
    """Write beside the image what the network says, with a bar for each probability."""
    font, line = ImageFont.load_default(13), 16
    across, down, room = SIDE + line, line, BESIDE - 2 * line

    def write(text: str, gap: int = 12) -> None:
        nonlocal down
        draw.text((across, down), text, INK, font)
        down += line * (text.count("\n") + 1) + gap

    for single in [] if o.targets is None else o.singles():
        value, clean = single.values(single.kind).flatten()[place].item(), single.clean[single.kind]
        name = target_name(single).replace("−", "-")  # the font lacks the long one
        if not np.isfinite((value, clean)).all():
            write(f"{name[:40]}:\nnot a finite number")
            continue
        if single.probability is None:
            write(f"{name[:40]}:\n{value:.4g} (unoccluded: {clean:.4g})")
            continue
        write(f"P({name[:30]}) {value:.2f}", 3)
        draw.rectangle((across, down, across + room, down + 10), PALE)
        draw.rectangle((across, down, across + max(1, round(value * room)), down + 10), BAR)
        mark = across + clean * room  # the clean image's
        draw.line((mark, down - 2, mark, down + 12), MARK, 2)
        down += line + 8
    if o.predicted is not None:
        write(f"most probable:\n{class_name(o, int(o.predicted.flatten()[place]))[:34]}", line)
    if o.activation is not None:
        value, clean = o.activation.flatten()[place].item(), o.clean["activation"]
        share = f" ({value / clean:.0%} of unoccluded)" if clean > 0 else ""
        write(f"channel {o.channel}: {value:.4g}{share}")
