"""The report's sections: each one method asked, its figure, and what its numbers say."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from convscope.errors import RuleError, UnitError
from convscope.figures.occlude import target_name
from convscope.figures.sheet import number
from convscope.methods import budget as budgets
from convscope.methods.attribute import RECOMMENDED, attribute
from convscope.methods.checkerboard import checkerboard
from convscope.methods.diagnose import diagnose
from convscope.methods.diagnosis import grid
from convscope.methods.diagnosis.result import LayerDiagnosis
from convscope.methods.draw import draw
from convscope.methods.gridding.structure import GridFinding
from convscope.methods.invariance import Invariance, invariance
from convscope.methods.occlude import occlude_all
from convscope.methods.occlude.result import Occlusion
from convscope.methods.project import project
from convscope.methods.rules import chosen_rule
from convscope.methods.sanity import sanity
from convscope.methods.scanning.batches import images_affordable
from convscope.methods.scanning.sources import Images, SomeImages
from convscope.methods.trace_unit import trace_unit
from convscope.network import Network
from convscope.network.blocks import block_ends
from convscope.packing import put_together
from convscope.pages.layer_tables import found_in, layers_table, shortly
from convscope.pages.section import Notice, Section, Shelf
from convscope.results import Result
from convscope.wording import counted

DIAGNOSIS_PASSES = 9
"""What a diagnosis costs an image, in passes, as measured on VGG16."""
SCAN_SHARE = 0.6
TOP_UNITS = FEEDERS = 3
PATCHES_ACROSS = 7
OTHER_UNITS, SEEDS = 3, 2
TRANSFORMATIONS = 15

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Subject:
    """What a report is about.

    Attributes:
        net: the network.
        images: the images that it is diagnosed on.
        pictures: [N, C, H, W], on the CPU: those looked at closely, in its input space.
        titles: what these are called, one each.
        shelf: where pictures and finished sections lie.
        memory: bytes for the maps, or a text such as ``"2GB"``.
        done: the sections until now, by name.
    """

    net: Network
    images: Images
    pictures: Tensor
    titles: tuple[str, ...]
    shelf: Shelf
    memory: int | str
    done: dict[str, Section] = field(default_factory=dict)


def _section(
    subject: Subject, found: Result, name: str, sentences: tuple[str, ...] = (),
    alternative: str = "", reading: str = "", **more: Any,
) -> Section:  # fmt: skip
    """Return a section of a result: what it says, its figure in files of a name, its numbers.

    What the figure shows is by default what the sentences say.
    """
    alternative = alternative or " ".join(sentences)
    pictures = subject.shelf.drawn(found, name, alternative, reading=reading)
    whole = {"numbers": found.to_dict(), "whole": not found.partial}
    return Section(sentences=sentences, pictures=pictures, **{**whole, **more})


def architecture(subject: Subject, seconds: float | None, progress: Progress) -> Section:
    """Draw the network."""
    drawn = draw(subject.net)
    first, last = drawn.volumes[0], drawn.volumes[-1]
    end = f"{last.channels:,} of {last.rows} by {last.columns}"
    if (heads := len(subject.net.graph.outputs)) > 1:  # the last box gathers them
        end = counted(heads, "output")
    alternative = (
        f"The architecture of {subject.net.name} as boxes, from {first.channels} channels of "
        f"{first.rows} by {first.columns} to {end}."
    )
    pictures = subject.shelf.drawn(drawn, "architecture", alternative, vector=True)
    return Section(pictures=pictures, numbers=drawn.to_dict())


def diagnosis(subject: Subject, seconds: float | None, progress: Progress) -> Section:
    """Look for what is wrong with the layers."""
    net, images = subject.net, subject.images
    time_for_scan = None if seconds is None else SCAN_SHARE * seconds
    count = images_affordable(net, images, time_for_scan, DIAGNOSIS_PASSES)
    found = diagnose(
        net, SomeImages(images, count), memory=subject.memory, progress=progress,
        budget=None if seconds is None else round((1 - SCAN_SHARE) * seconds, 1),
    )  # fmt: skip
    found = replace(found, left_out=budgets.as_share(found.left_out))
    words = [
        f"{counted(found.images, 'image')} {'was' if found.images == 1 else 'were'} looked at"
        + ("." if count == len(images) else f", spread evenly over {len(images):,}.")
    ]
    if found.accuracy is not None:
        words.append(
            f"Of {found.answered:,} with labels, {found.accuracy:.1%} are answered rightly."
        )
    words += [f"Left out: {shortly(text)}." for text in found.left_out]
    dead = sum(len(row.dead) for row in found.layers)
    alternative = (
        f"Bars a layer: {counted(dead, 'dead channel')} in all; "
        f"{counted(len(found.findings), 'finding')}."
    )
    whole = count == len(images) and not any("budget" in text for text in found.left_out)
    told: dict[str, Any] = {"findings": found_in(found), "whole": whole}
    return _section(subject, found, "diagnosis", (" ".join(words),), alternative, **told)


def layers(subject: Subject, seconds: float | None, progress: Progress) -> Section:
    """List the layers, with what the diagnosis measured if there is one."""
    diagnosed: tuple[LayerDiagnosis, ...] = ()
    faulty: set[str] = set()
    if (section := subject.done.get("diagnosis")) is not None:
        diagnosed = put_together(tuple[LayerDiagnosis, ...], section.numbers["layers"])
        faulty = {finding["layer"] for finding in section.numbers["findings"]}
    return Section(tables=(layers_table(list(subject.net.layers.values()), diagnosed, faulty),))


def projections(subject: Subject, seconds: float | None, progress: Progress) -> Section:
    """Show what drives the strongest channels of each block."""
    rule = _rule(subject.net)
    found = project(
        subject.net, subject.pictures, rule=rule, top=TOP_UNITS, titles=subject.titles,
        memory=subject.memory, progress=progress,
    )  # fmt: skip
    blocks = dict.fromkeys(found.layers)
    alternative = (
        f"For each picture, the {TOP_UNITS} strongest channels of {len(blocks)} blocks: the patch "
        f"that each reads, and its projection."
    )
    section = _section(
        subject, found, "projections",
        alternative=alternative,
        reading=(
            "Above: the patch that a channel's strongest unit reads; below: what in it drives the "
            "unit, given the switches of the pools. Zero is mid-grey. It does not say what the "
            "channel stands for in general, nor why the network answered as it did."
        ),
        numbers={
            "pictures": subject.titles,
            "answers": found.titles,
            "projections": found.to_dict(),
        },
    )  # fmt: skip
    layer = found.layers[-1]
    channel = int(found.channels[0, found.layers.index(layer)])
    try:
        tree = trace_unit(
            subject.net, subject.pictures[:1], layer, channel, top=FEEDERS,
            title=subject.titles[0], memory=subject.memory,
        )  # fmt: skip
    except UnitError:  # it is off, and nothing feeds it
        return section
    title = f"What feeds {layer} channel {channel}, on {subject.titles[0]}"
    drawn = subject.shelf.drawn(tree, "feeders", tree.summary(), title)
    return replace(section, pictures=(*section.pictures, *drawn))


def _rule(net: Network) -> str:
    """Return the deconvnet, or the gradient where there is no rectifier."""
    try:
        chosen_rule(net, "deconvnet")
    except RuleError:
        return "gradient"
    return "deconvnet"


def grids(subject: Subject, seconds: float | None, progress: Progress) -> Section:
    """Measure the grids that strides leave in projections."""
    found = checkerboard(
        subject.net, subject.pictures, top=4, rule=_rule(subject.net), titles=subject.titles,
        budget=seconds, memory=subject.memory, progress=progress,
    )  # fmt: skip
    sentence = "No layer leaves a grid of its own, whatever the weights."
    if found.findings:
        names = ", ".join(finding.layer.name for finding in found.findings)
        sentence = f"Leaving a grid of their own, whatever the weights: {names}."
    alternative = f"Projections from {len(found.layers)} layers, deepest first. {sentence}"
    findings = tuple(_grid_finding(finding) for finding in found.findings)
    return _section(subject, found, "checkerboard", (sentence,), alternative, findings=findings)


def _grid_finding(found: GridFinding) -> Notice:
    own = found.layer
    text = (
        f"A {own.op} with {_kernel(own.kernel, own.stride)} writes to some positions more often "
        f"than to others: {own.alone:.0%} variation between the phases of its stride, whatever the "
        f"weights."
    )
    if found.alternatives:
        better = found.alternatives[0]
        text += (
            f" A {_kernel(better.kernel, better.stride)} would leave {better.alone:.0%}, with "
            f"{better.weights:.2f} times the weights."
        )
    # As the diagnosis calls it, which most often finds it too: the page then says it once.
    return Notice(f"{own.name}: {grid.KIND}", text, 0.2 + 0.3 * min(1.0, own.alone))


def _kernel(kernel: tuple[int, int], stride: tuple[int, int]) -> str:
    return f"kernel {kernel[0]}×{kernel[1]} and stride {stride[0]}×{stride[1]}"


def occlusion(subject: Subject, seconds: float | None, progress: Progress) -> Section:
    """Hide part after part of each picture."""
    net, count = subject.net, len(subject.pictures)
    height, width = net.input_shape[1:]
    patch = (max(1, round(height / PATCHES_ACROSS)), max(1, round(width / PATCHES_ACROSS)))
    stride = (max(1, patch[0] // 2), max(1, patch[1] // 2))
    ends = block_ends(net.graph)
    layer = net.graph.steps[ends[-1]].name if ends else None
    options: dict[str, Any] = {"layer": layer, "memory": subject.memory, "titles": subject.titles}
    if seconds is not None:
        options |= {"method": "adaptive", "budget": max(1.0 * count, seconds)}
    found = occlude_all(net, subject.pictures, [patch], stride, progress=progress, **options)
    sentences = [_where(one, one.title) for one in found]
    reading = (
        "It shows what the answer depends on when it is hidden. A grey patch is itself something "
        "that the network sees, and what is there twice shows no drop."
    )
    pictures = subject.shelf.drawn(found, "occlusion", " ".join(sentences), reading=reading)
    shares = None
    if net.answer is not None:
        shares = attribute(net, subject.pictures, titles=subject.titles, memory=subject.memory)
        alternative = f"Each pixel's share in the answer's score, under {RECOMMENDED}."
        pictures += subject.shelf.drawn(shares, "attribution", alternative, alternative)
    return Section(
        sentences=tuple(filter(None, sentences)),
        pictures=pictures,
        numbers={
            "pictures": subject.titles,
            "partial": found.partial,
            "occlusions": [one.to_dict() for one in found],
            "attributions": shares and shares.to_dict(),
        },
        whole=len(found) == count and all(bool(one.computed.all()) for one in found),
    )


def _where(found: Occlusion, title: str) -> str:
    """Return in words where hiding lowers the answer's probability, or the number, most."""
    if found.kind == "activation" or not found.is_finite:
        return ""
    # Only where it was measured: an estimate between two positions is no finding.
    values = found.values(found.kind).flatten()
    measured = values.masked_fill(~found.computed.flatten(), math.inf)
    place = int(measured.nan_to_num(math.inf).argmin())
    top, left, bottom, right = found.positions.view(-1, 4)[place].tolist()
    name = target_name(found)
    if found.kind == "probability":
        name = f"P({name})"
    return (
        f"{title}: hiding rows {top} to {bottom - 1} and columns {left} to {right - 1} takes "
        f"{name} from {found.clean[found.kind]:.3f} to {float(values[place]):.3f}."
    )


def sanity_checks(subject: Subject, seconds: float | None, progress: Progress) -> Section:
    """Measure what projections depend on."""
    rules = ["deconvnet", "gradient"] if _rule(subject.net) == "deconvnet" else ["gradient"]
    found = sanity(
        subject.net, subject.pictures[:1], rules=rules, others=OTHER_UNITS, seeds=SEEDS,
        title=subject.titles[0], budget=seconds, memory=subject.memory, progress=progress,
    )  # fmt: skip
    sentences = tuple(f"{found.brief(rule)}." for rule in found.rules)
    return _section(
        subject, found, "sanity", sentences,
        reading=(
            "A picture that stays the same with random weights, or for another unit, shows the "
            "image and not the network. The numbers are rank correlations of |projection|: 1 is "
            "the same picture."
        ),
    )  # fmt: skip


def invariances(subject: Subject, seconds: float | None, progress: Progress) -> Section:
    """Move, enlarge and turn the pictures."""
    found = invariance(
        subject.net, subject.pictures, steps=TRANSFORMATIONS, titles=subject.titles,
        budget=seconds, memory=subject.memory, progress=progress,
    )  # fmt: skip
    sentences = tuple(_moved(found, k) for k in range(len(found.transforms)))
    return _section(subject, found, "invariance", sentences)


def _moved(found: Invariance, k: int) -> str:
    """Return in words what one kind of transformation does."""
    known = found.amounts[k][~found.amounts[k].isnan()]
    parts = ", ".join(
        f"{'an unknown share' if math.isnan(median) else number(median)} at {name}"
        for name, median in zip(found.layers, found.medians(k), strict=True)
    )
    text = (
        f"{found.transforms[k].capitalize()} from {number(float(known.min()))} to "
        f"{number(float(known.max()))} {found.units[k]}: the features move by a median of {parts}, "
        f"of their length"
    )
    kept, of = found.kept(k)
    return (
        f"{text}; the answer stays for {kept} of {of} transformed pictures." if of else f"{text}."
    )
