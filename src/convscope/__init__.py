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
    from convscope.atlas.atlas import Atlas
    from convscope.display import Display, DisplayScale
    from convscope.errors import (
        ConvscopeError,
        DataError,
        ImageError,
        Interrupted,
        ModelError,
        OutputError,
        RuleError,
        TraceError,
        TrainError,
        UnitError,
    )
    from convscope.explorer.explore import explore
    from convscope.images import Preprocess
    from convscope.loading import load
    from convscope.methods.ablate import Ablation, ablate
    from convscope.methods.attribute import attribute
    from convscope.methods.attribution import Attribution
    from convscope.methods.checkerboard import checkerboard
    from convscope.methods.compare import compare
    from convscope.methods.compare_matching import LayerMatch
    from convscope.methods.compare_result import Comparison, MatchedPairs, Side
    from convscope.methods.correspondence import correspondence
    from convscope.methods.correspondence_result import Correspondence
    from convscope.methods.diagnose import diagnose
    from convscope.methods.diagnosis.finding import Finding
    from convscope.methods.diagnosis.result import Diagnosis, LayerDiagnosis
    from convscope.methods.diagnosis.thresholds import Thresholds
    from convscope.methods.draw import Architecture, draw
    from convscope.methods.gridding.result import Checkerboard, GridSource
    from convscope.methods.gridding.structure import (
        Alternative,
        GridFinding,
        StridedLayer,
        strided_layers,
        structural_findings,
    )
    from convscope.methods.invariance import invariance
    from convscope.methods.invariance_result import Invariance
    from convscope.methods.look import Look, Reading, look
    from convscope.methods.occlude import occlude, occlude_all
    from convscope.methods.occlude.result import Occlusion, Occlusions
    from convscope.methods.parts import Part, PartSet, read_parts
    from convscope.methods.plate import Plate
    from convscope.methods.probe import Probe, probe
    from convscope.methods.project import project
    from convscope.methods.projection import Projection
    from convscope.methods.sanity import sanity
    from convscope.methods.sanity_result import Sanity
    from convscope.methods.scan import merge, scan
    from convscope.methods.scanning.result import LayerScan, Scan
    from convscope.methods.scanning.sources import Images
    from convscope.methods.scanning.unit import AtlasUnit
    from convscope.methods.visualization import Visualization
    from convscope.methods.visualize import visualize
    from convscope.models.plain import NetConfig
    from convscope.network import Layer, Network
    from convscope.pages.demo import Demo, demo
    from convscope.pages.report import report
    from convscope.pages.report_result import Report
    from convscope.results import Result
    from convscope.study.config import Augmentation, TrainConfig, preset
    from convscope.study.data import ImageSet
    from convscope.study.evolve import Evolution, FilterEvolution, evolve
    from convscope.study.run import EpochMetrics, Run
    from convscope.study.run_study import StudyProgress, run_study
    from convscope.study.study_result import Study, VariantResult
    from convscope.study.tracker import Tracker
    from convscope.study.train import train
    from convscope.study.trainer import TrainProgress

__version__ = "0.1.0"

__all__ = [
    "Ablation",
    "Alternative",
    "Architecture",
    "Atlas",
    "AtlasUnit",
    "Attribution",
    "Augmentation",
    "Checkerboard",
    "Comparison",
    "ConvscopeError",
    "Correspondence",
    "DataError",
    "Demo",
    "Diagnosis",
    "Display",
    "DisplayScale",
    "EpochMetrics",
    "Evolution",
    "FilterEvolution",
    "Finding",
    "GridFinding",
    "GridSource",
    "ImageError",
    "ImageSet",
    "Images",
    "Interrupted",
    "Invariance",
    "Layer",
    "LayerDiagnosis",
    "LayerMatch",
    "LayerScan",
    "Look",
    "MatchedPairs",
    "ModelError",
    "NetConfig",
    "Network",
    "Occlusion",
    "Occlusions",
    "OutputError",
    "Part",
    "PartSet",
    "Plate",
    "Preprocess",
    "Probe",
    "Projection",
    "Reading",
    "Report",
    "Result",
    "RuleError",
    "Run",
    "Sanity",
    "Scan",
    "Side",
    "StridedLayer",
    "Study",
    "StudyProgress",
    "Target",
    "Thresholds",
    "TraceError",
    "Tracker",
    "TrainConfig",
    "TrainError",
    "TrainProgress",
    "UnitError",
    "UnitTrace",
    "VariantResult",
    "Visualization",
    "__version__",
    "ablate",
    "attribute",
    "checkerboard",
    "compare",
    "correspondence",
    "demo",
    "diagnose",
    "draw",
    "evolve",
    "explore",
    "invariance",
    "load",
    "look",
    "merge",
    "occlude",
    "occlude_all",
    "preset",
    "probe",
    "project",
    "read_parts",
    "report",
    "run_study",
    "sanity",
    "scan",
    "strided_layers",
    "structural_findings",
    "trace_unit",
    "train",
    "visualize",
]

_HOMES = {
    "convscope.atlas.atlas": "Atlas",
    "convscope.display": "Display DisplayScale",
    "convscope.errors": "ConvscopeError DataError ImageError Interrupted ModelError OutputError "
    "RuleError TraceError TrainError UnitError",
    "convscope.explorer.explore": "explore",
    "convscope.images": "Preprocess",
    "convscope.loading": "load",
    "convscope.methods.ablate": "Ablation ablate",
    "convscope.methods.attribute": "attribute",
    "convscope.methods.attribution": "Attribution",
    "convscope.methods.checkerboard": "checkerboard",
    "convscope.methods.compare": "compare",
    "convscope.methods.compare_matching": "LayerMatch",
    "convscope.methods.compare_result": "Comparison MatchedPairs Side",
    "convscope.methods.correspondence": "correspondence",
    "convscope.methods.correspondence_result": "Correspondence",
    "convscope.methods.diagnose": "diagnose",
    "convscope.methods.diagnosis.finding": "Finding",
    "convscope.methods.diagnosis.result": "Diagnosis LayerDiagnosis",
    "convscope.methods.diagnosis.thresholds": "Thresholds",
    "convscope.methods.draw": "Architecture draw",
    "convscope.methods.gridding.result": "Checkerboard GridSource",
    "convscope.methods.gridding.structure": "Alternative GridFinding StridedLayer "
    "strided_layers structural_findings",
    "convscope.methods.invariance": "invariance",
    "convscope.methods.invariance_result": "Invariance",
    "convscope.methods.look": "Look Reading look",
    "convscope.methods.occlude": "occlude occlude_all",
    "convscope.methods.occlude.result": "Occlusion Occlusions",
    "convscope.methods.parts": "Part PartSet read_parts",
    "convscope.methods.probe": "Probe probe",
    "convscope.methods.project": "project",
    "convscope.methods.projection": "Projection",
    "convscope.methods.sanity": "sanity",
    "convscope.methods.sanity_result": "Sanity",
    "convscope.methods.plate": "Plate",
    "convscope.methods.scan": "merge scan",
    "convscope.methods.scanning.result": "LayerScan Scan",
    "convscope.methods.scanning.unit": "AtlasUnit",
    "convscope.methods.scanning.sources": "Images",
    "convscope.methods.targets": "Target",
    "convscope.methods.trace_unit": "UnitTrace trace_unit",
    "convscope.methods.visualization": "Visualization",
    "convscope.methods.visualize": "visualize",
    "convscope.models.plain": "NetConfig",
    "convscope.network": "Layer Network",
    "convscope.pages.demo": "Demo demo",
    "convscope.pages.report": "report",
    "convscope.pages.report_result": "Report",
    "convscope.results": "Result",
    "convscope.study.config": "Augmentation TrainConfig preset",
    "convscope.study.data": "ImageSet",
    "convscope.study.evolve": "Evolution FilterEvolution evolve",
    "convscope.study.run": "EpochMetrics Run",
    "convscope.study.run_study": "StudyProgress run_study",
    "convscope.study.study_result": "Study VariantResult",
    "convscope.study.tracker": "Tracker",
    "convscope.study.train": "train",
    "convscope.study.trainer": "TrainProgress",
}
"""The module of each public name, which is imported when one of its names is first used."""
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import convscope`` costs nothing."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'convscope' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    if isinstance(value, FunctionType):
        value = checked(value)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return list(__all__)
