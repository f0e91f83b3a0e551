"""What a study's numbers say, in sentences that are made from them and claim nothing more."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convscope.study.study_result import Study, VariantResult


def lead(study: "Study") -> str:
    """Return the result in one sentence or two."""
    ranked = sorted(study.results, key=lambda r: r.test_accuracy.mean, reverse=True)
    best, worst = ranked[0], ranked[-1]
    n = study.seeds
    runs = f"mean ± sample standard deviation of {n} runs" if n > 1 else "one run each"
    return (
        f"{best.variant.phrase.capitalize()} reached {_plain(best)} on the test images, the "
        f"highest mean of the four; {worst.variant.phrase} reached {_plain(worst)}, the lowest "
        f"({runs})."
    )


def effects(study: "Study") -> list[str]:
    """Return what batch norm and what padding changed, each with the other held fixed."""
    sentences = []
    for padding in ("same", "valid"):
        one, other = study.result(True, padding), study.result(False, padding)
        sentences.append(_effect(f"With {padding} padding, batch norm", one, other))
    for batch_norm in (True, False):
        one, other = study.result(batch_norm, "same"), study.result(batch_norm, "valid")
        start = f"With{'' if batch_norm else 'out'} batch norm, same padding instead of valid"
        sentences.append(_effect(start, one, other))
    return sentences


def first_epoch(study: "Study") -> str:
    """Return how far the variants were after the first epoch."""
    parts = [f"{result.variant.phrase} {result.curve[0].mean:.1%}" for result in study.results]
    epoch = study.results[0].epochs[0]
    moment = "the first epoch" if epoch == 1 else f"{epoch:.3g} epochs"
    return f"After {moment}, accuracy on the held-out images: {'; '.join(parts)}."


def dead(study: "Study") -> list[str]:
    """Return where filters are dead."""
    runs = sum(len(result.runs) for result in study.results)
    found = [
        (result, number, layer)
        for result in study.results
        for number, layer in enumerate(study.layers, start=1)
        if any(result.dead[layer])
    ]
    if not found:
        return [f"No filter of any layer is dead in any of the {runs} runs."]
    parts = [
        f"{result.variant.phrase}, layer {number}: {result.dead_share(layer).percent(1)}"
        for result, number, layer in found
    ]
    sentences = [f"Dead filters, as a share of the layer: {'; '.join(parts)}."]
    if len(found) < len(study.results) * len(study.layers):
        sentences.append(
            f"In all other layers and variants, none is dead in any of the {runs} runs."
        )
    return sentences


def _effect(start: str, one: "VariantResult", other: "VariantResult") -> str:
    """Say how *one* differs from *other* in test accuracy, and whether chance would do it."""
    value, error = one.test_accuracy.above(other.test_accuracy)
    points = abs(100 * value)
    if f"{points:.2f}" == "0.00":
        return f"{start} changes nothing in the mean."
    said = f"{start} {'gains' if value > 0 else 'loses'} {points:.2f} points"
    if error is None:
        return f"{said}; one run each cannot tell this from chance."
    said += f" ± {100 * error:.2f} (standard error)"
    if abs(value) <= 2 * error:
        said += ": less than twice the error, so that these runs do not tell it from chance"
    return f"{said}."


def _plain(result: "VariantResult") -> str:
    summary = result.test_accuracy
    spread = "" if summary.std is None else f" ± {100 * summary.std:.2f}"
    return f"{100 * summary.mean:.2f}%{spread}"
