"""Answers hardly better than chance: most often the network is not fed what it was trained on."""

from convscope.methods.diagnosis.finding import Finding
from convscope.methods.scanning.answers import SUSPECTS
from convscope.methods.scanning.result import Scan

KIND = "hardly better than chance"
WHOLE = "the network"


def find(scanned: Scan) -> list[Finding]:
    """Return what is to be said of the answers to the labelled images."""
    doubt = scanned.doubt()
    return [Finding(KIND, WHOLE, (), doubt, SUSPECTS, 1.0)] if doubt else []
