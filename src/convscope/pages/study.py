"""The study's report: figures, tables and one page, in the study's folder."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convscope.errors import OutputError
from convscope.figures.comparison import accuracy_figure, dead_figure
from convscope.figures.evolve import figure as evolution_figure
from convscope.figures.sheet import Sheet
from convscope.figures.strongest import first_layer_figure, last_layer_figure, weights_figure
from convscope.figures.style import Style
from convscope.network.shield import shielded
from convscope.outputs import written_beside
from convscope.pages import findings
from convscope.pages.renderer import image_source, render
from convscope.study.comparison import Comparison, VariantResult

EVOLUTION = Style(10.0, "full")
PAGE, NUMBERS, TABLE, FIGURES = "index.html", "results.json", "table.csv", "figures"


@dataclass(frozen=True)
class Picture:
    """A figure on the page.

    Attributes:
        source: the PNG itself, as an ``img`` wants it.
        alternative: what it shows, for those who do not see it.
        width: in pixels.
        height: in pixels.

    """

    source: str
    alternative: str
    width: int
    height: int


@shielded
def study_report(
    comparison: Comparison,
    out: str | Path,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write what a study found: ``index.html``, ``table.csv``, ``results.json`` and ``figures/``.

    The page holds its figures itself and reads nothing from anywhere.

    Args:
        comparison: what :func:`convscope.run_study` returned.
        out: the folder, made if missing; what a report wrote there before is replaced.
        progress: called with the figures drawn and the figures in all.

    Returns:
        The page.

    Raises:
        OutputError: *out* cannot be written, or a figure would be too large to draw.

    """
    out = Path(out)
    try:
        (out / FIGURES).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {out / FIGURES}: {error.strerror}") from error
    pictures: dict[str, Picture] = {}
    drawings = _drawings(comparison)
    for name, (draw, alternative) in drawings.items():
        pictures[name] = _drawn(draw(), out / FIGURES / f"{name}.png", alternative)
        if progress:
            progress(len(pictures), len(drawings))
    _write(out / NUMBERS, json.dumps(comparison.to_dict(), indent=1) + "\n")
    _write(out / TABLE, table(comparison))
    _write(out / PAGE, _page(comparison, pictures))
    return out / PAGE


def table(comparison: Comparison) -> str:
    """Return the numbers of each variant as CSV, one line a variant.

    Shares are in 0..1; ``std`` columns are sample standard deviations, empty for one run.
    """
    lines = [_line(comparison, result) for result in comparison.results]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _line(comparison: Comparison, result: VariantResult) -> dict[str, Any]:
    accuracy, held_out, seconds = result.test_accuracy, result.curve[-1], result.seconds
    line: dict[str, Any] = {
        "variant": result.variant.name,
        "runs": accuracy.n,
        "test_accuracy_mean": accuracy.mean,
        "test_accuracy_std": accuracy.std,
        "held_out_accuracy_mean": held_out.mean,
        "held_out_accuracy_std": held_out.std,
    }
    for number, layer in enumerate(comparison.layers, start=1):
        share = result.dead_share(layer)
        line[f"dead_share_layer_{number}_mean"] = share.mean
        line[f"dead_share_layer_{number}_std"] = share.std
    made_with = result.runs[0].made_with
    return line | {
        "training_seconds_mean": seconds.mean,
        "training_seconds_std": seconds.std,
        "parameters": result.runs[0].network["parameters"],
        "multiply_adds_an_image": result.runs[0].network["multiply_adds"],
        "device": made_with["device"],
        "threads": made_with["threads"],
        "precision": made_with["precision"],
        "convscope": made_with["convscope"],
        "torch": made_with["torch"],
    }


def _drawings(comparison: Comparison) -> dict[str, tuple[Callable[[], Sheet], str]]:
    """Return the figures by name: how to draw each, and what it shows."""
    last = len(comparison.layers)
    drawings: dict[str, tuple[Callable[[], Sheet], str]] = {
        "accuracy": (
            lambda: accuracy_figure(comparison),
            "Two charts. "
            + "; ".join(
                f"{r.variant.name}: {r.test_accuracy.percent()}" for r in comparison.results
            )
            + ". The curves' last points: "
            + "; ".join(f"{r.variant.name}: {r.curve[-1].percent()}" for r in comparison.results),
        ),
        "dead": (lambda: dead_figure(comparison), " ".join(findings.dead(comparison))),
        "weights-layer-1": (
            lambda: weights_figure(comparison),
            "All filters of layer 1 of the four variants as colour tiles.",
        ),
        "filters-layer-1": (
            lambda: first_layer_figure(comparison),
            "The strongest filters of layer 1 of the four variants side by side: weights, image "
            "patch and projection.",
        ),
        f"filters-layer-{last}": (
            lambda: last_layer_figure(comparison),
            f"The strongest filters of layer {last} of the four variants side by side: image patch "
            f"and projection.",
        ),
    }
    for result in comparison.results:
        evolution, name = result.shown.evolution, result.variant.name
        drawings[_evolution(result)] = (
            lambda evolution=evolution: evolution_figure(evolution, EVOLUTION),  # type: ignore[misc]
            f"Evolution of one filter a layer through a training with {name}.",
        )
    return drawings


def _evolution(result: VariantResult) -> str:
    return f"evolution-{result.variant.folder}"


def _drawn(sheet: Sheet, path: Path, alternative: str) -> Picture:
    """Write a figure to a file, and return it for the page."""
    with written_beside(path) as beside:
        sheet.save(beside)
    width, height = (round(inches * sheet.figure.dpi) for inches in sheet.figure.get_size_inches())
    return Picture(image_source(path.read_bytes()), alternative, width, height)


def _page(comparison: Comparison, pictures: dict[str, Picture]) -> str:
    last = len(comparison.layers)
    return render(
        "study.html",
        title="Batch norm and padding: four variants of one network",
        lead=findings.lead(comparison),
        effects=findings.effects(comparison),
        first_epoch=findings.first_epoch(comparison),
        dead=findings.dead(comparison),
        comparison=comparison,
        config=comparison.config,
        rates=[comparison.result(norm, "same").runs[0].config for norm in (True, False)],
        run=comparison.results[0].runs[0],
        last=last,
        pictures=pictures,
        filters=pictures[f"filters-layer-{last}"],
        evolutions=[(r.variant.name, pictures[_evolution(r)]) for r in comparison.results],
        files=(NUMBERS, TABLE, FIGURES),
    )


def _write(path: Path, text: str) -> None:
    with written_beside(path) as beside:
        beside.write_text(text, "utf-8")
