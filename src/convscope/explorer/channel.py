"""What the page says of a channel beyond an image: kernel, patches, wishes, faults, trust, tree."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import torch

from convscope.display import Display, presentable, to_display
from convscope.errors import ConvscopeError, UnitError
from convscope.explorer.session import (
    SECONDS,
    SIDE_BY_SIDE,
    Facts,
    Pixels,
    Session,
    convolutions,
    meant,
    mosaic,
)
from convscope.methods.budget import Progress
from convscope.methods.kernels import channel_kernels
from convscope.methods.sanity import sanity
from convscope.methods.scanning.units import scanned_layers
from convscope.methods.trace_unit import trace_unit
from convscope.methods.visualize import visualize
from convscope.pages.section import layers_of
from convscope.wording import counted

KERNELS = 9
"""Input channels whose kernels are shown: the strongest."""

COLOURS = 3
"""Input channels whose kernel is shown as a colour picture: those of an image."""

ACROSS = 3
"""Patches of an atlas in a row; as many rows of them at most."""

GREY = 128

SEEDS, OTHERS = 2, 5
"""Random networks, and other units, that a unit is compared with."""

STEPS = 64
"""Of the ascent to the picture that a channel wants: half of the usual, while somebody waits."""

FEEDERS = 3
"""Channels of each layer that the tree follows: as many as a narrow column names."""


def kernel(session: Session, layer: str, channel: int) -> tuple[Facts, Pixels]:
    """Return a channel's kernel: in colour if it reads three maps, else the strongest of it.

    Those of single input channels lie side by side, on one scale.
    """
    net = session.net
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


def trust(
    session: Session, image: int, layer: str, channel: int, progress: Progress, rule: str = ""
) -> Facts:
    """Return how much of a unit's picture stays when what it claims to show changes.

    That is by each of the rules that stand side by side, and by another one if it is given.
    """
    rules = meant(session.net, dict.fromkeys((*SIDE_BY_SIDE, rule)))
    values = session.leaf(image).values
    try:
        found = sanity(
            session.net, values, None, layer, channel, rules=rules, seeds=SEEDS, others=OTHERS,
            memory=session.memory, budget=SECONDS, progress=progress,
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
    session: Session, image: int, layer: str, channel: int, progress: Progress
) -> tuple[Facts, Pixels]:
    """Return the picture that drives a channel most, beside a real patch that drives it.

    That is the strongest one of the atlas, or else of the image.
    """
    net, atlas = session.net, session.atlas
    with session.lock:
        leaf, peak = session.album[image], session.look_at(image).project(layer, channel)
    found = visualize(net, layer, [channel], steps=STEPS, memory=session.memory, progress=progress)
    top, left, bottom, right = peak.window[0, 0].tolist()
    real = net.preprocess.to_pixels(leaf.values[0].cpu())[:, top:bottom, left:right]
    facts: Facts = {"real": float(peak.activation[0, 0]), "title": leaf.title}
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


def faults(session: Session, layer: str, channel: int, progress: Progress) -> Facts:
    """Return the faults of a layer, and whether they are those of a channel too."""
    found = session.diagnosis(progress)
    name = convolutions(session.net).get(layer, layer)
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


def patches(session: Session, layer: str, channel: int) -> tuple[Facts, Pixels]:
    """Return a channel's strongest patches, three in a row, and right of them their projections."""
    if session.atlas is None:
        raise ConvscopeError("no atlas was given")
    unit = session.atlas.unit(convolutions(session.net).get(layer, layer), channel)
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


def tree(
    session: Session, image: int, layer: str, channel: int, position: tuple[int, int] | None,
    progress: Progress,
) -> tuple[Facts, Pixels]:  # fmt: skip
    """Return the tree of channels that feed a unit, in words and drawn.

    Its letters are left of its pictures, both with opacity, so that a dark page can turn the
    letters light.
    """
    leaf = session.leaf(image)
    found = trace_unit(
        session.net, leaf.values, layer, channel, position, top=FEEDERS, title=leaf.title,
        memory=session.memory, progress=progress,
    )  # fmt: skip
    return {"said": found.summary()}, np.hstack(layers_of(found.sheet("column", "short")))
