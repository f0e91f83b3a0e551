"""Tables of layers for a page: what each is, and what was measured of it."""

from collections.abc import Collection, Sequence

from convscope.methods.diagnosis.finding import named
from convscope.methods.diagnosis.result import Diagnosis, LayerDiagnosis
from convscope.network import Layer
from convscope.pages.section import Notice, Table
from convscope.wording import times

MOST_NAMED = 4
HEAD = ("layer", "kind", "output", "stride", "receptive field", "parameters", "multiply-adds")
UNKNOWN = "–"
MEASURED = ("dead", "almost dead", "duplicates", "active", "answers kept")


def layers_table(
    layers: Sequence[Layer],
    diagnosed: Sequence[LayerDiagnosis] = (),
    faulty: Collection[str] = (),
) -> Table:
    """Return a network's layers, with what a diagnosis measured of some, the faulty ones marked."""
    measured = {row.name: row for row in diagnosed}
    rows: list[tuple[str, ...]] = [
        (layer.name, layer.op, times(layer.shape), *layer.field_words(), *_cells(layer)[2:])
        + (_measured(measured.get(layer.name)) if measured else ())
        for layer in layers
    ]
    total = (
        "total", "", "", "", "", f"{sum(row.parameters for row in layers):,}",
        f"{sum(row.multiply_adds for row in layers):,}",
    )  # fmt: skip
    rows.append(total + ("",) * (len(MEASURED) if measured else 0))
    return Table(
        "The layers in the order they run, for one image."
        + (
            " Dead: channels that answer to none of the images; active: mean share of the "
            "positions above 0; answers kept: with the layer's mean map in its place; –: not "
            "measured."
            if measured
            else ""
        ),
        HEAD + (MEASURED if measured else ()),
        tuple(rows),
        tuple(place for place, layer in enumerate(layers) if layer.name in faulty),
    )


def _measured(row: LayerDiagnosis | None) -> tuple[str, ...]:
    if row is None:
        return (UNKNOWN,) * len(MEASURED)
    return (
        str(len(row.dead)) + (f" ({named(row.dead)})" if row.dead else ""),
        str(len(row.almost_dead)),
        str(sum(len(group) - 1 for group in row.duplicates)),
        f"{row.active:.1%}",
        UNKNOWN if row.without is None else f"{row.without:.1%}",
    )


def side_by_side(layers: tuple[Sequence[Layer], Sequence[Layer]], names: tuple[str, str]) -> Table:
    """Return two networks' layers beside each other, lined up where kinds agree.

    Rectifiers and the like are left out where both have them alike, or nothing else would be seen.
    """
    pairs = [
        (first, second)
        for first, second in lined_up(*layers)
        if first is None or second is None or first.parameters or first.shape != second.shape
    ]
    rows: list[tuple[str, ...]] = [
        (*a[:2], *b[:2], a[2], b[2], a[3], b[3])
        for a, b in ((_cells(first), _cells(second)) for first, second in pairs)
    ]
    totals = [
        f"{sum(getattr(layer, key) for layer in own):,}"
        for key in ("parameters", "multiply_adds")
        for own in layers
    ]
    rows.append(("total", "", "", "", *totals))
    different = tuple(
        place
        for place, (first, second) in enumerate(pairs)
        if first is None or second is None or first.shape != second.shape
    )
    return Table(
        f"A is {names[0]}, B is {names[1]}; lines that differ in kind or output are marked. What "
        f"has no weights is left out where both have it alike.",
        ("A", "output of A", "B", "output of B", "parameters A", "parameters B",
         "multiply-adds A", "multiply-adds B"),
        tuple(rows),
        different,
    )  # fmt: skip


def lined_up(
    first: Sequence[Layer], second: Sequence[Layer]
) -> list[tuple[Layer | None, Layer | None]]:
    """Return pairs of layers of the same kind, in order; None where one network has no such layer.

    As many are paired as can be: a layer with weights counts for more, and so does a pair whose
    maps have the same shape.
    """

    def worth(a: Layer, b: Layer) -> int:
        return (a.op == b.op) * (1 + 2 * bool(a.parameters) + (a.shape == b.shape))

    # What the layers from there on are worth at best: the longest common subsequence, weighed.
    best = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for m, a in reversed(list(enumerate(first))):
        for n, b in reversed(list(enumerate(second))):
            apart = max(best[m + 1][n], best[m][n + 1])
            best[m][n] = max(apart, best[m + 1][n + 1] + worth(a, b))
    found: list[tuple[Layer | None, Layer | None]] = []
    m = n = 0
    while m < len(first) and n < len(second):
        together = worth(first[m], second[n])
        if together and best[m][n] == best[m + 1][n + 1] + together:
            found.append((first[m], second[n]))
            m, n = m + 1, n + 1
        elif best[m][n] == best[m + 1][n]:
            found.append((first[m], None))
            m += 1
        else:
            found.append((None, second[n]))
            n += 1
    return [*found, *((own, None) for own in first[m:]), *((None, own) for own in second[n:])]


def _cells(layer: Layer | None) -> tuple[str, ...]:
    """Return a layer's name and kind, its output, its parameters and multiply-adds, if any."""
    if layer is None:
        return "", "", "", ""
    costs = (f"{n:,}" if n else "" for n in (layer.parameters, layer.multiply_adds))
    return f"{layer.name}: {layer.op}", times(layer.shape), *costs


def found_in(diagnosis: Diagnosis) -> tuple[Notice, ...]:
    """Return a diagnosis's findings for a page."""
    return tuple(
        Notice(
            f"{f.layer}: {f.kind}",
            " ".join((f.evidence, *f.consequences, f.suggestion)),
            f.severity,
        )
        for f in diagnosis.findings
    )


def shortly(text: str) -> str:
    """Return what was left out of which layers, their number in the place of many names.

    >>> shortly("importance of a, b, c, d, e: the budget was spent")
    'importance of 5 layers: the budget was spent'
    """
    what, _, rest = text.partition(" of ")
    names, _, why = rest.rpartition(": ")
    count = names.count(", ") + 1
    return f"{what} of {count} layers: {why}" if count > MOST_NAMED else text
