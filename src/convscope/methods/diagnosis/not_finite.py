"""Layers that make NaN or infinity of finite values."""

from collections import Counter
from collections.abc import Iterator

from convscope.methods.diagnosis.finding import Finding
from convscope.methods.scanning.image_pass import NOT_FINITE
from convscope.methods.scanning.result import Scan


def find(scanned: Scan) -> Iterator[Finding]:
    """Yield a finding for each layer that made images of the scan worthless."""
    reasons = Counter(why for why in scanned.bad.values() if why.startswith(f"{NOT_FINITE} from "))
    for reason, count in reasons.items():
        layer = reason.removeprefix(f"{NOT_FINITE} from ").removesuffix(" on")
        yield Finding(
            "not finite",
            layer,
            (),
            f"It makes NaN or infinity of finite values in {count:,} of "
            f"{count + scanned.images:,} images, which are left out.",
            "Look for a division, a logarithm or an exponential, or for a scale that explodes.",
            1.0,
        )
