"""``convscope diagnose``: which layers are dead, drowned, doubled, aliased, and what to change."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from convscope.cli.calls import method
from convscope.cli.networks import NamedNetwork
from convscope.errors import ConvscopeError


@method("convscope.methods.diagnose:diagnose", "diagnosing", "diagnosis.png", "random")
def diagnose(
    network: NamedNetwork,
    images: Path,
    threshold: list[str] | None = None,
    sample: int = 1000,
    budget: str | None = None,
    memory: str = "1GB",
) -> dict[str, Any]:
    """Find what is wrong with a network's layers, with the evidence and what to change.

    A healthy network gets no finding.

    Args:
        images (IMAGES): A folder of pictures, in class folders or not, CIFAR-10's (its test
            images), or an atlas that `convscope scan` wrote.
        threshold (NAME=NUMBER): From where on something is a fault (repeat for more);
            docs/diagnose.md names them with their defaults.
        sample: On how many images activations are compared, at most.
        budget (SECONDS): Time for effective receptive fields and what each layer matters; no limit.
    """
    from convscope.atlas.atlas import scanned_images
    from convscope.methods.diagnosis.finding import Thresholds

    scan, folder = scanned_images(images)
    return {
        "network": replace(network, random="freeze"),  # randomness is a finding
        "images": scan if folder is None else folder,
        "scanned": scan,
        "threshold": Thresholds.named(_numbers(threshold or [])),
    }


def _numbers(options: list[str]) -> dict[str, float]:
    """Return thresholds given as ``name=number``."""
    found = {}
    for text in options:
        name, _, value = text.partition("=")
        try:
            found[name.strip().replace("-", "_")] = float(value)
        except ValueError:
            raise ConvscopeError(
                f"--threshold is NAME=NUMBER, such as dead=0.2, not {text!r}"
            ) from None
    return found
