"""A study as one page, and its numbers and pictures beside it."""

import os
from functools import partial
from pathlib import Path

from convscope.figures.study import SHOWN, figure
from convscope.outputs import claim_folder
from convscope.pages.document import Document
from convscope.pages.section import Picture, Section, Shelf, Table
from convscope.study import findings
from convscope.study.study_result import Study
from convscope.wording import counted

TABLE, FIGURES = "table.csv", "figures"


def write_study(found: Study, folder: str | os.PathLike[str]) -> Path:
    """Write a study's page, which holds its pictures itself; return it.

    Beside it lie ``numbers.json``, ``table.csv`` and ``figures/``, perhaps among its trainings.
    """
    out = claim_folder(folder, found.folder)
    shelf = Shelf(None, {})
    document = Document(
        title="Batch norm and padding: four variants of one network",
        lead=findings.lead(found),
        facts=(("Runs", str(sum(len(r.runs) for r in found.results))),
               ("Held-out images", f"{found.held_out:,}")),
        notes=found.notes,
        sections=[
            _accuracy(found, shelf), _dead(found, shelf), *_filters(found, shelf),
            _evolutions(found, shelf), _method(found),
        ],
    )  # fmt: skip
    found.save(out / TABLE)
    (out / FIGURES).mkdir(exist_ok=True)
    for shown in SHOWN:
        found.save(out / FIGURES / f"{shown}.png", shown=shown)
    for result in found.results:
        result.evolution.save(out / FIGURES / f"evolution-{result.variant.folder}.png")
    return document.write(shelf, out, found.to_dict())


def _drawn(found: Study, shelf: Shelf, shown: str, alternative: str) -> tuple[Picture, ...]:
    return shelf.drawn(partial(figure, found, shown=shown), shown, alternative)


def _accuracy(found: Study, shelf: Shelf) -> Section:
    head = ("variant", "test accuracy", "held out", "training time", "parameters",
            "multiply-adds an image")  # fmt: skip
    rows = []
    for result in found.results:
        spread = "" if result.seconds.std is None else f" ± {result.seconds.std:.0f}"
        network = result.runs[0].network
        rows.append(
            (
                result.variant.name, result.test_accuracy.percent(), result.curve[-1].percent(),
                f"{result.seconds.mean:.0f} s{spread}", f"{network['parameters']:,}",
                f"{network['multiply_adds']:,}",
            )
        )  # fmt: skip
    told = "; ".join(f"{row[0]}: {row[1]} on the test images, {row[2]} held out" for row in rows)
    caption = (
        f"Test accuracy in percent, training time in seconds: mean ± sample standard deviation "
        f"over n = {counted(found.seeds, 'seed')}."
    )
    return Section(
        "accuracy",
        "Accuracy",
        sentences=(*findings.effects(found), findings.first_epoch(found)),
        pictures=_drawn(found, shelf, "accuracy", f"Two charts. {told}."),
        tables=(Table(caption, head, tuple(rows)),),
    )


def _dead(found: Study, shelf: Shelf) -> Section:
    rows = tuple(
        (
            result.variant.name,
            *(
                f"{result.dead_share(layer).percent(1)}: {', '.join(map(str, result.dead[layer]))} "
                f"of {result.filters[layer]}"
                for layer in found.layers
            ),
        )
        for result in found.results
    )
    head = ("variant", *(f"layer {n + 1}" for n in range(len(found.layers))))
    sentences = tuple(findings.dead(found))
    return Section(
        "dead",
        "Dead filters",
        sentences=(
            f"A filter is dead here if its ReLU gives zero at every place of its map in every one "
            f"of the {found.held_out:,} held-out images, by the final weights.",
            *sentences,
        ),
        pictures=_drawn(found, shelf, "dead", " ".join(sentences)),
        tables=(
            Table(
                "Share of dead filters: mean ± sample standard deviation (n): how many of the "
                "layer's filters, seed by seed.", head, rows,
            ),
        ),
    )  # fmt: skip


def _filters(found: Study, shelf: Shelf) -> tuple[Section, Section]:
    last = len(found.layers)
    own = "The strongest filters of layer"
    first = (
        *_drawn(found, shelf, "weights", "All filters of layer 1 as colour tiles."),
        *_drawn(found, shelf, "first", f"{own} 1: weights, image patch and projection."),
    )
    deep = _drawn(found, shelf, "last", f"{own} {last}: image patch and projection.")
    title = "Layer 1: what its filters are, and what drives the strongest"
    return (
        Section("first", title, pictures=first),
        Section("last", f"Layer {last}: what drives its strongest filters", pictures=deep),
    )


def _evolutions(found: Study, shelf: Shelf) -> Section:
    pictures: list[Picture] = []
    for result in found.results:
        name, file = result.variant.name, f"evolution-{result.variant.folder}"
        alternative = f"Evolution of one filter a layer through a training with {name}."
        pictures += shelf.drawn(result.evolution, file, alternative, name)
    return Section(
        "evolution",
        "Evolution: one filter a layer through a training",
        sentences=(
            f"Of the run with seed {found.results[0].runs[0].config.seed} of each variant: the "
            f"filter of each layer that is most activated at the end.",
        ),
        pictures=tuple(pictures),
    )


def _method(found: Study) -> Section:
    config, run = found.config, found.results[0].runs[0]
    rates = [found.result(norm, "same").runs[0].config for norm in (True, False)]
    widths = " | ".join(", ".join(map(str, stage)) for stage in config.net.widths)
    optimizer = config.optimizer.upper() if config.optimizer == "sgd" else "Muon"
    mirrored = ", mirroring" if config.augmentation.flip else ""
    made, git = run.made_with, run.made_with.get("git")
    commit = f", commit {git['commit'][:12]}" if git else ""
    changed = " with changes" if git and git["changed"] else ""
    return Section(
        "how",
        "How it was measured",
        sentences=(
            f"All variants share one net, {widths} filters of 3×3 pixels (a bar is a 2×2 max "
            f"pooling; the last map is reduced to its maximum), and one recipe: {optimizer}, "
            f"{config.epochs:g} epochs, {config.batch_size} images a step, one-cycle learning "
            f"rate, momentum {config.momentum}, label smoothing {config.label_smoothing}, random "
            f"shifts of up to {config.augmentation.shift} pixels{mirrored}. The learning rate "
            f"peaks at {rates[0].learning_rate} with batch norm and {rates[1].learning_rate} "
            f"without for the filters, at {rates[0].other_learning_rate} and "
            f"{rates[1].other_learning_rate} for the rest. Batch norm brings a factor and a shift "
            f"a filter, which takes the place of the convolution's bias; the pooling comes before "
            f"it. Without padding every convolution's map is two rows and columns smaller, so that "
            f"the valid variants also compute less.",
            f"{run.data['images'] - found.held_out:,} training images; {found.held_out:,} held "
            f"out, on which the curves and the filters were looked at; the test images were looked "
            f"at once a run, by its final weights. The differences' standard error is "
            f"√(s₁² / n + s₂² / n), with the runs' sample standard deviations.",
            f"{made['device']}, threads: {made['threads']}, {made['precision']}, PyTorch "
            f"{made['torch']}{commit}{changed}. Every training is in runs/, beside this page.",
        ),
    )
