"""What is wrong with the network as a whole: its answers, its randomness, values not finite."""

from collections import Counter

from convscope.methods.diagnosis.finding import Finding
from convscope.methods.not_finite import NOT_FINITE
from convscope.methods.scanning.answers import SUSPECTS
from convscope.methods.scanning.result import Scan
from convscope.network import Network

ADVICE = "Look for a division, a logarithm or an exponential, or for a scale that explodes."


def find(net: Network, scanned: Scan) -> list[Finding]:
    """Return what is to be said of a network by a scan, before any of its layers is looked at."""
    found = []
    if doubt := scanned.doubt():  # most often the network is not fed what it was trained on
        found.append(("hardly better than chance", "the network", doubt, SUSPECTS))
    for use in net.graph.random:
        evidence = (
            f"{use.finding[0].upper()}{use.finding[1:]}; two equal calls differ, and for this "
            f"diagnosis it was frozen."
        )
        advice = f"{use.advice[0].upper()}{use.advice[1:]}."
        found.append(("randomness", use.module or net.name, evidence, advice))
    beginning = f"{NOT_FINITE} from "
    reasons = Counter(why for why in scanned.bad.values() if why.startswith(beginning))
    for reason, count in reasons.items():
        evidence = (
            f"It makes NaN or infinity of finite values in {count:,} of "
            f"{count + scanned.images:,} images, which are left out."
        )
        layer = reason.removeprefix(beginning).removesuffix(" on")
        found.append(("not finite", layer, evidence, ADVICE))
    return [Finding(kind, where, (), told, advice, 1.0) for kind, where, told, advice in found]
