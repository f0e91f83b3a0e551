"""See what a convolutional network sees.

>>> import convscope as cs
>>> import torch
>>> from torch import nn
>>> net = cs.Network(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), torch.zeros(1, 3, 8, 8))
>>> net.layers["0"].receptive_field
(3, 3)
"""

from importlib import import_module
from types import FunctionType
from typing import TYPE_CHECKING, Any

from convscope.arguments import checked

if TYPE_CHECKING:
    from convscope.errors import ConvscopeError, Interrupted
    from convscope.figures.architecture import Architecture, draw
    from convscope.loading import load
    from convscope.methods.checkerboard import checkerboard
    from convscope.methods.compare import compare
    from convscope.methods.comparison_result import NetworkComparison
    from convscope.methods.correspondence import correspondence
    from convscope.methods.correspondence_result import Correspondence
    from convscope.methods.diagnose import diagnose
    from convscope.methods.diagnosis.finding import Finding
    from convscope.methods.diagnosis.result import Diagnosis, LayerDiagnosis
    from convscope.methods.diagnosis.thresholds import Thresholds
    from convscope.methods.gridding.result import Checkerboard
    from convscope.methods.gridding.structure import (
        GridFinding,
        strided_layers,
        structural_findings,
    )
    from convscope.methods.invariance import invariance
    from convscope.methods.invariance_result import Invariance
    from convscope.methods.occlude import occlude, occlude_sizes
    from convscope.methods.occlusion import Occlusion
    from convscope.methods.parts import Part, PartSet, read_parts
    from convscope.methods.project import project
    from convscope.methods.projection import Projection
    from convscope.methods.sanity import sanity
    from convscope.methods.sanity_result import Sanity
    from convscope.methods.scan import merge, scan
    from convscope.methods.scanning.result import LayerScan, Scan
    from convscope.network import Layer, Network
    from convscope.pages.comparison import comparison_report
    from convscope.pages.report import Report, report
    from convscope.pages.study import study_report
    from convscope.study.comparison import Comparison
    from convscope.study.config import TrainConfig, preset
    from convscope.study.evolve import Evolution, evolve
    from convscope.study.run import Run
    from convscope.study.run_study import run_study
    from convscope.study.tracker import Tracker
    from convscope.study.train import train

__version__ = "0.1.0"

__all__ = [
    "Architecture",
    "Checkerboard",
    "Comparison",
    "ConvscopeError",
    "Correspondence",
    "Diagnosis",
    "Evolution",
    "Finding",
    "GridFinding",
    "Interrupted",
    "Invariance",
    "Layer",
    "LayerDiagnosis",
    "LayerScan",
    "Network",
    "NetworkComparison",
    "Occlusion",
    "Part",
    "PartSet",
    "Projection",
    "Report",
    "Run",
    "Sanity",
    "Scan",
    "Thresholds",
    "Tracker",
    "TrainConfig",
    "__version__",
    "checkerboard",
    "compare",
    "comparison_report",
    "correspondence",
    "diagnose",
    "draw",
    "evolve",
    "invariance",
    "load",
    "merge",
    "occlude",
    "occlude_sizes",
    "preset",
    "project",
    "read_parts",
    "report",
    "run_study",
    "sanity",
    "scan",
    "strided_layers",
    "structural_findings",
    "study_report",
    "train",
]

_HOMES = {
    "Architecture": "convscope.figures.architecture",
    "Checkerboard": "convscope.methods.gridding.result",
    "Comparison": "convscope.study.comparison",
    "ConvscopeError": "convscope.errors",
    "Correspondence": "convscope.methods.correspondence_result",
    "Diagnosis": "convscope.methods.diagnosis.result",
    "Evolution": "convscope.study.evolve",
    "Finding": "convscope.methods.diagnosis.finding",
    "GridFinding": "convscope.methods.gridding.structure",
    "Interrupted": "convscope.errors",
    "Invariance": "convscope.methods.invariance_result",
    "Layer": "convscope.network",
    "LayerDiagnosis": "convscope.methods.diagnosis.result",
    "LayerScan": "convscope.methods.scanning.result",
    "Network": "convscope.network",
    "NetworkComparison": "convscope.methods.comparison_result",
    "Occlusion": "convscope.methods.occlusion",
    "Part": "convscope.methods.parts",
    "PartSet": "convscope.methods.parts",
    "Projection": "convscope.methods.projection",
    "Report": "convscope.pages.report",
    "Run": "convscope.study.run",
    "Sanity": "convscope.methods.sanity_result",
    "Scan": "convscope.methods.scanning.result",
    "Thresholds": "convscope.methods.diagnosis.thresholds",
    "Tracker": "convscope.study.tracker",
    "TrainConfig": "convscope.study.config",
    "checkerboard": "convscope.methods.checkerboard",
    "compare": "convscope.methods.compare",
    "comparison_report": "convscope.pages.comparison",
    "correspondence": "convscope.methods.correspondence",
    "diagnose": "convscope.methods.diagnose",
    "draw": "convscope.figures.architecture",
    "evolve": "convscope.study.evolve",
    "invariance": "convscope.methods.invariance",
    "load": "convscope.loading",
    "merge": "convscope.methods.scan",
    "occlude": "convscope.methods.occlude",
    "occlude_sizes": "convscope.methods.occlude",
    "preset": "convscope.study.config",
    "project": "convscope.methods.project",
    "read_parts": "convscope.methods.parts",
    "report": "convscope.pages.report",
    "run_study": "convscope.study.run_study",
    "sanity": "convscope.methods.sanity",
    "scan": "convscope.methods.scan",
    "strided_layers": "convscope.methods.gridding.structure",
    "structural_findings": "convscope.methods.gridding.structure",
    "study_report": "convscope.pages.study",
    "train": "convscope.study.train",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import convscope`` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'convscope' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    if isinstance(value, FunctionType):
        value = checked(value)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return list(__all__)
