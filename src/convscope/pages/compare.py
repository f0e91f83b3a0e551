"""A comparison of two networks as one page, and its numbers beside it."""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from convscope.figures.compare import attributions_figure, filters_figure, pairs_figure
from convscope.methods import bad_images
from convscope.methods.compare_matching import Partners
from convscope.methods.compare_result import Comparison
from convscope.network.shield import shielded
from convscope.outputs import claim_folder, finite
from convscope.pages.document import Document
from convscope.pages.layer_tables import UNKNOWN, found_in, layers_table, shortly, side_by_side
from convscope.pages.section import Picture, Section, Shelf, Table
from convscope.wording import counted, quoted, share, times

PARTS = "parts"
HEALTHY = "Nothing is wrong with either network, by the thresholds of the diagnosis."


@shielded
def write_comparison(found: Comparison, folder: str | Path) -> Path:
    """Write a comparison's page, which holds its pictures itself; return it.

    Beside it lie ``numbers.json`` and, in ``parts/``, the pictures.
    """
    out = claim_folder(folder, found.folder)
    shelf = Shelf(out / PARTS, {})
    names = found.names
    stopped = ("what was to come when the work was interrupted",) * (found.partial == "interrupted")
    sections = [
        _answers(found),
        _architectures(found, shelf),
        _layers(found),
        _diagnoses(found, shelf),
        *_first_filters(found, shelf),
        *_attributions(found, shelf),
        _matching(found, shelf),
    ]  # fmt: skip
    document = Document(
        title=f"{names[0]} and {names[1]}",
        lead=_lead(found),
        facts=(("Images", f"{found.images:,}"),),
        notes=found.notes,
        sections=sections,
        missing=(*stopped, *map(shortly, found.left_out), *bad_images.sentences(found.bad)),
        healthy="" if stopped else HEALTHY,
    )  # fmt: skip
    return document.write(shelf, out, finite(found.to_dict()))


def _lead(found: Comparison) -> str:
    names = found.names
    text = f"Two networks on the same {counted(found.images, 'image')} of {quoted(found.data)}."
    known = [side.accuracy for side in found.sides if side.accuracy is not None]
    right = _right(found)
    if len(known) == 2:
        text += f" {names[0]} answers {right[0]} of them rightly, {names[1]} {right[1]}"
    if all("%" in own for own in right):
        # As if of separate images: on the same ones it is smaller if both tend to be right on them.
        error = math.sqrt(
            sum(s * (1 - s) / side.labelled for s, side in zip(known, found.sides, strict=True))
        )
        points = 100 * (known[0] - known[1])
        text += (
            f"; the difference of {points:+.1f} points has a standard error of {100 * error:.1f} "
            f"or, as the images are the same, less"
        )
    text = f"{text.removesuffix('.')}."
    return text + (f" They give the same answer to {found.agreed}." if found.agreed else "")


def _right(found: Comparison) -> list[str]:
    """Return what share of the images each network answers rightly; empty without labels."""
    return ["" if s.right is None else share(s.right, s.labelled) for s in found.sides]


def _answers(found: Comparison) -> Section:
    sides = found.sides
    rows = {
        "input": [times(side.architecture.input_shape) for side in sides],
        "layers": [str(len(side.layers)) for side in sides],
        "parameters": [f"{side.parameters:,}" for side in sides],
        "multiply-adds an image": [f"{side.multiply_adds:,}" for side in sides],
        "right answers": [
            f"{side.right:,} of {side.labelled:,}{f' ({own})' * ('%' in own)}"
            if own
            else "no labels"
            for side, own in zip(sides, _right(found), strict=True)
        ],
        "dead channels": [f"{side.dead[0]:,} of {side.dead[1]:,}" for side in sides],
        "findings": [
            str(len(side.diagnosis.findings)) if side.diagnosis else UNKNOWN for side in sides
        ],
    }
    sentence = _cost(found)
    return Section(
        "answers",
        "Answers and cost",
        sentences=(sentence,) if sentence else (),
        tables=(
            Table(
                "The two networks in numbers.",
                ("", *found.names),
                tuple((what, *own) for what, own in rows.items()),
            ),
        ),
    )


def _cost(found: Comparison) -> str:
    first, second = found.sides
    cost, size = first.multiply_adds, first.parameters
    if cost == second.multiply_adds and size == second.parameters:
        return "Both have the same parameters in number, and cost the same."
    if not cost or not size:
        return ""
    return (
        f"{found.names[1]} costs {second.multiply_adds / cost:.3g} times the multiply-adds of "
        f"{found.names[0]} and has {second.parameters / size:.3g} times its parameters."
    )


def _layers(found: Comparison) -> Section:
    first, second = (side.layers for side in found.sides)
    if first == second:
        weighty = [layer for layer in first if layer.parameters or layer.multiply_adds]
        sentence = "Both networks have these layers, and between them the same without weights."
        return Section("layers", "Layers", (sentence,), tables=(layers_table(weighty),))
    table = side_by_side((first, second), found.names)
    return Section("layers", "Layers side by side", tables=(table,))


def _architectures(found: Comparison, shelf: Shelf) -> Section:
    """Return both architectures, or the one that both have."""
    pictures: list[Picture] = []
    first, second = (side.architecture for side in found.sides)
    same = first.volumes == second.volumes and first.input_shape == second.input_shape
    drawn = [(first, "")] if same else list(zip((first, second), found.names, strict=True))
    for place, (one, name) in enumerate(drawn):
        alternative = f"The architecture of {name or 'both'}: {len(one.volumes)} volumes."
        pictures += shelf.drawn(one, f"architecture-{place}", alternative, name, vector=True)
    sentences = ("Both networks have the same architecture.",) if same else ()
    return Section("architecture", "Architectures", sentences, tuple(pictures))


def _diagnoses(found: Comparison, shelf: Shelf) -> Section:
    """Return both diagnoses beside each other, and what they found, once where both say it."""
    pictures: list[Picture] = []
    both = [() if side.diagnosis is None else found_in(side.diagnosis) for side in found.sides]
    findings = [replace(one, title=f"both, {one.title}") for one in both[0] if one in both[1]]
    for column, (side, name) in enumerate(zip(found.sides, found.names, strict=True), start=1):
        if side.diagnosis is None:
            continue
        own = both[column - 1]
        alternative = f"Bars a layer of {name}: {counted(len(own), 'finding')}."
        file = f"diagnosis-{column}"
        pictures += shelf.drawn(side.diagnosis, file, alternative, name, column=column)
        alone = (one for one in own if one not in both[2 - column])
        findings += [replace(one, title=f"{name}, {one.title}") for one in alone]
    return Section("diagnosis", "Diagnoses", pictures=tuple(pictures), findings=tuple(findings))


def _first_filters(found: Comparison, shelf: Shelf) -> Iterator[Section]:
    if found.filters:
        median = found.matches[0].first.median
        alternative = f"Filters of the first layers in pairs; median correlation {median:.2f}."
        pictures = shelf.drawn(partial(filters_figure, found), "filters", alternative)
        yield Section("filters", "First filters", pictures=pictures)


def _attributions(found: Comparison, shelf: Shelf) -> Iterator[Section]:
    """Yield what the answers to a few images hang on, of two classifiers."""
    if found.attributions:
        rule = found.attributions[0].rule
        alternative = f"What either network's most probable class hangs on, by {rule}."
        pictures = shelf.drawn(partial(attributions_figure, found), "attribution", alternative)
        yield Section(
            "attribution",
            "What the answers hang on",
            pictures=pictures,
            reading=(
                "Each network's own most probable class, on the same images; those that the two "
                "answer differently come first. It does not say why they do."
            ),
        )


def _matching(found: Comparison, shelf: Shelf) -> Section:
    rows = tuple(
        (
            *match.layers, f"{match.grid[0]}×{match.grid[1]}",
            *(
                cell
                for own in (match.first, match.second)
                for cell in (
                    _share(own.median), _share(own.median_chance),
                    _beyond(own),
                )
            ),
            str(len(match.pairs)),
        )
        for match in found.matches
    )  # fmt: skip
    unknown, names = any(UNKNOWN in row for row in rows), found.names
    table = Table(
        f"Median over the channels of the correlation with the best partner. A is {names[0]}, B is "
        f"{names[1]}. By chance: with noise of the partners' support and envelope; beyond: "
        f"channels above what 19 of 20 reach so."
        + (f" {UNKNOWN}: nothing varies that could be correlated, or shuffled." if unknown else ""),
        ("layer of A", "layer of B", "grid", "A in B", "by chance", "beyond", "B in A", "by chance",
         "beyond", "mutual pairs"),
        rows,
    )  # fmt: skip
    whole = shelf.drawn(
        replace(found, shown=()), "matching",
        "Every channel's correlation with its partner, layer by layer.",
    )  # fmt: skip
    return Section(
        "matching",
        "Channels that answer alike",
        sentences=(_matching_sentence(found),),
        tables=(table,),
        pictures=(*whole, *_pairs(found, shelf)),
        reading=(
            "A correlation of 1 means that two channels rise and fall together over images and "
            "positions, at whatever scale; partners are those with the highest. Many channels find "
            "some partner by chance, the more the wider the layer, the fewer the images, and the "
            "more both networks answer in the same places: read each number beside the one by "
            "chance. Maps are averaged over the cells of the grid before. A mutual pair is one in "
            "which each is the other's partner."
        ),
    )


def _share(value: float) -> str:
    return UNKNOWN if math.isnan(value) else f"{value:.2f}"


def _beyond(own: Partners) -> str:
    """Return how many channels go alike beyond chance, where that is known."""
    if math.isnan(own.chance_level):
        return UNKNOWN
    return f"{int(own.beyond_chance.sum())} of {len(own.partner)}"


def _matching_sentence(found: Comparison) -> str:
    names = found.names
    known = [match for match in found.matches if not math.isnan(match.first.median)]
    if not known:
        return "No channel varies over the images."
    told = [match for match in known if not math.isnan(match.first.median_chance)]
    if not told:
        return "What chance alone reaches is unknown, so that no correlation says much."
    best = max(told, key=lambda match: match.first.median - match.first.median_chance)
    return (
        f"The channels of {names[0]} find their partners best at {best.layers[0]}: the median "
        f"correlation with {best.layers[1]} of {names[1]} is {best.first.median:.2f}, against "
        f"{_share(best.first.median_chance)} by chance."
    )


def _pairs(found: Comparison, shelf: Shelf) -> Iterator[Picture]:
    for shown in found.shown:
        title = " and ".join(found.matches[shown.match].layers)
        pairs = counted(len(shown.units[0].channels), "pair")
        alternative = f"{pairs} of channels of {title} that answer alike."
        draw = partial(pairs_figure, found, shown)
        yield from shelf.drawn(draw, f"pairs-{shown.match}", alternative, title)
