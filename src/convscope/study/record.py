"""The study on record: its four trained networks and what drives their filters, in two files.

They ship with convscope, so that its pages can show a study that took hours and data to make.
``benchmarks/bundle_study.py`` writes them from a finished study. No picture of the data is among
them, but projections, which hold what the network's filters draw.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from convscope.models.bundled import bundled_file
from convscope.models.plain import build
from convscope.models.weights import load_into
from convscope.network import Network
from convscope.packing import load_tensors
from convscope.study.config import TrainConfig
from convscope.study.data import CLASSES, SIDE
from convscope.study.variants import VARIANTS, Variant

NAME = "study"


@dataclass(frozen=True, eq=False)
class StudyRecord:
    """A study as it is kept.

    Attributes:
        facts: what :meth:`.Study.to_dict` returned.
        tensors: ``VARIANT/weights/NAME``: a network's weights; ``VARIANT/strongest/LAYER``, [K, C,
            H, W]: projections of its strongest filters; ``VARIANT/evolution/LAYER``, [M, C, H, W]:
            projections of one filter at M moments. All in units of pixels, in half precision.
    """

    facts: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    @classmethod
    @cache
    def bundled(cls) -> "StudyRecord":
        """Return the study that ships with convscope.

        Raises:
            ModelError: it is missing from this copy.

        >>> [one["variant"] for one in StudyRecord.bundled().facts["variants"]][0]
        'batch norm, same padding'
        """
        facts = json.loads(bundled_file(f"{NAME}.json").read_text("utf-8"))
        return cls(facts, load_tensors(bundled_file(f"{NAME}.safetensors"))[0])

    def variant(self, variant: Variant) -> dict[str, Any]:
        """Return what is on record of a variant."""
        facts: dict[str, Any] = self.facts["variants"][VARIANTS.index(variant)]
        return facts

    def network(self, variant: Variant) -> Network:
        """Return a variant's network with its final weights."""
        config = TrainConfig.from_json(self.facts["config"])
        own = variant.config(config, config.seed)
        module = build(own.net, 0).eval()
        begin = f"{variant.folder}/weights/"
        weights = {n.removeprefix(begin): t for n, t in self.tensors.items() if n.startswith(begin)}
        load_into(module, weights, f"{NAME}.safetensors")
        return Network(
            module, torch.zeros(1, 3, SIDE, SIDE), name=variant.name, classes=CLASSES,
            preprocess=own.preprocess(SIDE, SIDE),
        )  # fmt: skip

    def projections(self, variant: Variant, kind: str, layer: str) -> Tensor:
        """Return the ``"strongest"`` or ``"evolution"`` projections, [N, C, H, W] in pixels."""
        return self.tensors[f"{variant.folder}/{kind}/{layer}"].float()
