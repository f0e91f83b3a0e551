"""A comparison of two networks as one page, and its numbers beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import torch

from convscope.errors import RuleError
from convscope.figures.diagnose import figure as diagnosis_figure
from convscope.figures.draw import figure as architecture_figure
from convscope.figures.matching import MatchedPair, MatchedUnit, filters_figure, units_figure
from convscope.figures.style import Style
from convscope.methods.comparison_result import NetworkComparison, Side
from convscope.methods.draw import draw
from convscope.methods.kernels import weight_tensor
from convscope.methods.matching import LayerMatch
from convscope.methods.project import project
from convscope.methods.scanning.sources import Images
from convscope.methods.scanning.units import ScannedLayer, scanned_layers
from convscope.network import Network
from convscope.network.shield import shielded
from convscope.outputs import claim_folder, finite
from convscope.pages.document import Document
from convscope.pages.layer_tables import UNKNOWN, found_in, shortly, side_by_side
from convscope.pages.section import PAPER_WIDTH, Finding, Picture, Section, Shelf, Table
from convscope.wording import counted

KIND, PARTS = "comparison", "parts"
SHOWN_LAYERS, SHOWN_PAIRS = 3, 4


@shielded
def comparison_report(
    found: NetworkComparison,
    nets: tuple[Network, Network],
    images: tuple[Images, Images],
    out: str | Path,
) -> Path:
    """Write a comparison: ``index.html``, ``numbers.json`` and, in ``parts/``, the pictures.

    Args:
        found: what :func:`.compare` returned.
        nets: the networks.
        images: the images as each network takes them, the whole set.
        out: the folder, made if missing.

    Returns:
        The page, which holds its pictures itself.

    Raises:
        OutputError: *out* cannot be written, lies among the images, or holds other files than a
            comparison's.

    """
    out = claim_folder(out, KIND, getattr(images[0], "folder", None))
    shelf = Shelf(out / PARTS, {})
    names = found.names
    layers = found.sides[0].layers, found.sides[1].layers
    sections = [
        _answers(found, names),
        _architectures(nets, names, shelf),
        Section("layers", "Layers side by side", tables=(side_by_side(layers, names),)),
        _diagnoses(found, names, shelf),
        *_first_filters(found, nets, names, shelf),
        _matching(found, nets, images, names, shelf),
    ]  # fmt: skip
    document = Document(
        title=f"{names[0]} and {names[1]}",
        lead=_lead(found, names),
        facts=_facts(found, names),
        notes=found.notes,
        sections=sections,
        missing=tuple(map(shortly, found.left_out)),
        healthy="Nothing is wrong with either network, by the thresholds of the diagnosis.",
    )  # fmt: skip
    return document.write(shelf, out, finite(found.to_dict()))


def _lead(found: NetworkComparison, names: tuple[str, str]) -> str:
    text = f"Two networks on the same {counted(found.images, 'image')} of {found.data}."
    shares = [side.accuracy for side in found.sides]
    if shares[0] is not None and shares[1] is not None:
        text += f" {names[0]} answers {shares[0]:.1%} of them rightly, {names[1]} {shares[1]:.1%}"
        error = _difference_error(found.sides)
        points = 100 * (shares[0] - shares[1])
        text += (
            f"; the difference of {points:+.1f} points has a standard error of {100 * error:.1f} "
            f"or, as the images are the same, less."
        )
    if found.agreement is not None:
        text += f" They give the same answer to {found.agreement:.1%}."
    return text


def _difference_error(sides: tuple[Side, Side]) -> float:
    """Return the standard error of the difference of two shares, as if of separate images.

    On the same images it is smaller if the networks tend to be right on the same ones.
    """
    total = 0.0
    for side in sides:
        share = side.accuracy or 0.0
        total += share * (1 - share) / max(1, side.labelled)
    return float(total**0.5)


def _facts(found: NetworkComparison, names: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    first, second = found.sides
    facts = [("Images", f"{found.images:,}")]
    if first.accuracy is not None and second.accuracy is not None:
        facts.append(("Right answers", f"{first.accuracy:.1%} | {second.accuracy:.1%}"))
    return (
        *facts,
        ("Parameters", f"{first.parameters:,} | {second.parameters:,}"),
        ("Multiply-adds", f"{first.multiply_adds:,} | {second.multiply_adds:,}"),
        ("Dead channels", f"{first.dead[0]} | {second.dead[0]}"),
    )


def _answers(found: NetworkComparison, names: tuple[str, str]) -> Section:
    def both(what: str, values: list[str]) -> tuple[str, ...]:
        return (what, *values)

    sides = found.sides
    rows = [
        both("input", ["×".join(map(str, side.input_shape)) for side in sides]),
        both("layers", [str(len(side.layers)) for side in sides]),
        both("parameters", [f"{side.parameters:,}" for side in sides]),
        both("multiply-adds an image", [f"{side.multiply_adds:,}" for side in sides]),
        both(
            "right answers",
            [
                "no labels"
                if side.right is None
                else f"{side.right:,} of {side.labelled:,} ({side.accuracy:.1%})"
                for side in sides
            ],
        ),
        both("dead channels", [f"{side.dead[0]:,} of {side.dead[1]:,}" for side in sides]),
        both("findings", [str(len(side.diagnosis.findings)) for side in sides]),
    ]
    sentence = _cost(sides, names)
    return Section(
        "answers",
        "Answers and cost",
        sentences=(sentence,) if sentence else (),
        tables=(Table("The two networks in numbers.", ("", *names), tuple(rows)),),
    )


def _cost(sides: tuple[Side, Side], names: tuple[str, str]) -> str:
    """Return in words how the costs go together."""
    cost, size = (
        tuple(getattr(side, key) for side in sides) for key in ("multiply_adds", "parameters")
    )
    if cost[0] == cost[1] and size[0] == size[1]:
        return "Both have the same parameters in number, and cost the same."
    if not cost[0] or not size[0]:
        return ""
    return (
        f"{names[1]} costs {cost[1] / cost[0]:.3g} times the multiply-adds of {names[0]} and has "
        f"{size[1] / size[0]:.3g} times its parameters."
    )


def _architectures(nets: tuple[Network, Network], names: tuple[str, str], shelf: Shelf) -> Section:
    pictures = []
    for place, (net, name) in enumerate(zip(nets, names, strict=True)):
        drawn = draw(net)
        alternative = f"The architecture of {name}: {len(drawn.volumes)} volumes."
        sheet = architecture_figure(drawn, Style(PAPER_WIDTH, "full"))
        pictures.append(shelf.vector(sheet, f"architecture-{place}", alternative, name))
    return Section("architecture", "Architectures", pictures=tuple(pictures))


def _diagnoses(found: NetworkComparison, names: tuple[str, str], shelf: Shelf) -> Section:
    pictures: list[Picture] = []
    findings: list[Finding] = []
    for place, (side, name) in enumerate(zip(found.sides, names, strict=True)):
        count = counted(len(side.diagnosis.findings), "finding")
        alternative = f"Bars a layer of {name}: {count}."
        figure = diagnosis_figure(side.diagnosis, Style(PAPER_WIDTH, "full"))
        pictures.append(shelf.drawn(figure, f"diagnosis-{place}", alternative, name))
        findings += found_in(side.diagnosis, name)
    return Section("diagnosis", "Diagnoses", pictures=tuple(pictures), findings=tuple(findings))


def _scanned(net: Network, name: str) -> ScannedLayer:
    return next(layer for layer in scanned_layers(net) if layer.name == name)


def _first_filters(
    found: NetworkComparison, nets: tuple[Network, Network], names: tuple[str, str], shelf: Shelf
) -> Iterator[Section]:
    """Yield the first layers' filters, if both are small pictures."""
    match = found.matches[0]
    layers = [_scanned(net, name) for net, name in zip(nets, match.layers, strict=True)]
    weights = [weight_tensor(net, layer) for net, layer in zip(nets, layers, strict=True)]
    reads_images = all(
        net.graph.steps[layer.convolution].inputs == (0,)
        for net, layer in zip(nets, layers, strict=True)
    )
    if not reads_images or any(own.shape[1] not in (1, 3) for own in weights):
        return
    figure = filters_figure(names, (weights[0], weights[1]), match, found.notes)
    alternative = (
        f"Filters of the first layers in pairs; median correlation {match.first.median:.2f}."
    )
    yield Section(
        "filters",
        "First filters",
        pictures=(shelf.drawn(figure, "filters", alternative),),
    )


def _matching(
    found: NetworkComparison,
    nets: tuple[Network, Network],
    images: tuple[Images, Images],
    names: tuple[str, str],
    shelf: Shelf,
) -> Section:
    rows = tuple(
        (
            match.layers[0], match.layers[1], f"{match.grid[0]}×{match.grid[1]}",
            _share(match.first.median), _share(match.first.chance),
            _share(match.second.median), _share(match.second.chance),
            str(len(match.pairs)),
        )
        for match in found.matches
    )  # fmt: skip
    unknown = any(UNKNOWN in row for row in rows)
    table = Table(
        f"Median over the channels of the correlation with the best partner. A is {names[0]}, B is "
        f"{names[1]}. By chance: with the other network's answers to another image."
        + (f" {UNKNOWN}: nothing varies that could be correlated." if unknown else ""),
        ("layer of A", "layer of B", "grid", "A in B", "by chance", "B in A", "by chance",
         "mutual pairs"),
        rows,
    )  # fmt: skip
    pictures = list(_matched_pictures(found, nets, images, names, shelf))
    return Section(
        "matching",
        "Channels that answer alike",
        sentences=(_matching_sentence(found, names),),
        tables=(table,),
        pictures=tuple(pictures),
        reading=(
            "A correlation of 1 means that two channels rise and fall together over images and "
            "positions, at whatever scale; partners are those with the highest. Many channels find "
            "some partner by chance, the more the wider the layer and the fewer the images: read "
            "each number beside the one by chance. Maps are averaged over the cells of the grid "
            "before. A mutual pair is one in which each is the other's partner."
        ),
    )


def _share(value: float) -> str:
    return UNKNOWN if math.isnan(value) else f"{value:.2f}"


def _matching_sentence(found: NetworkComparison, names: tuple[str, str]) -> str:
    known = [match for match in found.matches if not math.isnan(match.first.median)]
    if not known:
        return "No channel varies over the images."
    best = max(known, key=lambda match: match.first.median - match.first.chance)
    return (
        f"The channels of {names[0]} find their partners best at {best.layers[0]}: the median "
        f"correlation with {best.layers[1]} of {names[1]} is {best.first.median:.2f}, against "
        f"{best.first.chance:.2f} by chance."
    )


def _matched_pictures(
    found: NetworkComparison,
    nets: tuple[Network, Network],
    images: tuple[Images, Images],
    names: tuple[str, str],
    shelf: Shelf,
) -> Iterator[Picture]:
    """Yield the best pairs of units of the first, the middle and the last pair of layers."""
    last = len(found.matches) - 1
    places = sorted({round(n * last / (SHOWN_LAYERS - 1)) for n in range(SHOWN_LAYERS)})
    for place in places:
        match = found.matches[place]
        pairs = []
        for first, second, correlation in match.pairs[:SHOWN_PAIRS]:
            units = [
                _unit(net, source, match, side, channel)
                for side, (net, source, channel) in enumerate(
                    zip(nets, images, (first, second), strict=True)
                )
            ]
            if units[0] is not None and units[1] is not None:
                pairs.append(MatchedPair(correlation, (units[0], units[1])))
        if pairs:
            figure = units_figure(names, pairs)
            title = f"{match.layers[0]} and {match.layers[1]}"
            alternative = f"{counted(len(pairs), 'pair')} of channels of {title} that answer alike."
            yield shelf.drawn(figure, f"pairs-{place}", alternative, title)


def _unit(
    net: Network, source: Images, match: LayerMatch, side: int, channel: int
) -> MatchedUnit | None:
    layer = _scanned(net, match.layers[side])
    number = int(match.strongest[side][channel])
    image = source.load(number)[0][None]
    rules: tuple[str, ...] = ("deconvnet", "gradient")
    for rule in rules:  # the deconvnet means nothing where there is no rectifier
        try:
            shown = project(net, image, layer.read_at, [channel], rule=rule, titles=[""])
        except RuleError:
            continue
        return MatchedUnit(torch.as_tensor(image), shown, net.preprocess, source.title(number))
    return None
