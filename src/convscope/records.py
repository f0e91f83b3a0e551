"""Records: what the methods return, with all that is needed to tell later what it was."""

import json
import os
import platform
from dataclasses import dataclass, field, fields
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from convscope import __version__
from convscope.errors import OutputError
from convscope.outputs import finite, written_beside


def provenance() -> dict[str, str]:
    """Return the versions and the machine that a result was made with."""
    return {
        "convscope": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


@dataclass(frozen=True, eq=False)
class Record:
    """What the dataclasses that methods return have in common: tensors, and facts about them."""

    def arrays(self) -> dict[str, Tensor]:
        """Return the tensors by name."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def facts(self) -> dict[str, Any]:
        """Return everything but the tensors, fit for JSON."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in values.items() if not isinstance(value, Tensor)}

    def numbers(self) -> dict[str, Any]:
        """Return everything, fit for JSON but for values that are not finite."""
        return {**self.facts(), **{name: value.tolist() for name, value in self.arrays().items()}}

    def to_json(self) -> str:
        """Return :meth:`numbers` as one line of JSON, with null for what is not finite."""
        return json.dumps(finite(self.numbers()), allow_nan=False)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to one safetensors file, its facts as JSON in the header.

        Raises:
            OutputError: if the file cannot be written.

        """
        tensors = {name: value.contiguous().cpu() for name, value in self.arrays().items()}
        with written_beside(path) as beside:
            try:
                save_file(tensors, beside, {type(self).__name__: json.dumps(self.facts())})
            except SafetensorError as error:  # its own word for a full disk or a missing folder
                raise OutputError(f"cannot write {path}: {error}") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            OutputError: if the file is missing or holds something else.

        """
        try:
            with safe_open(path, framework="pt") as file:
                facts = json.loads((file.metadata() or {})[cls.__name__])
                # The file object is no mapping: keys() is the only way to its names.
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            # JSON knows lists only, and records hold tuples.
            facts = {name: _tupled(value) for name, value in dict(facts).items()}
            return cls(**tensors, **facts)
        except (OSError, SafetensorError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise OutputError(f"{path} is not a saved {cls.__name__}: {reason}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise OutputError(
                f"{path} is not a saved {cls.__name__}: it holds something else, or comes from "
                f"another version of convscope"
            ) from error


def _tupled(value: Any) -> Any:
    return tuple(map(_tupled, value)) if isinstance(value, list) else value


@dataclass(frozen=True, eq=False)
class Projection(Record):
    """What drives units of one layer in some images, brought down to pixels.

    The tensors lie on the network's device, but for the windows, which lie on the CPU.

    Attributes:
        pixels: [N, K, C, H, W], float, in the network's input space; zero where nothing arrives.
        activation: [N, K], the peak of each feature map, where the signal starts.
        position: [N, K, 2], int64: row and column of that peak in the feature map.
        window: [N, K, 4], int64: top, left, bottom, right (the last two excluded) of the part of
            the image that the signal can come from: the peak's receptive field, or the map's.
        channels: [N, K], int64.
        receptive_field: height and width of what the signal can come from, borders apart.
        layer: the layer's name.
        rule: ``"deconvnet"``, ``"guided"`` or ``"gradient"``.
        select: ``"peak"``, the strongest activation alone, or ``"map"``, the whole feature map.
        network: the network's name.
        notes: what a picture of this must say, such as ``"random weights"``.
        made_with: versions and machine.

    """

    pixels: Tensor
    activation: Tensor
    position: Tensor
    window: Tensor
    channels: Tensor
    receptive_field: tuple[int, int]
    layer: str
    rule: str
    select: str
    network: str
    notes: tuple[str, ...] = ()
    made_with: dict[str, str] = field(default_factory=provenance)

    def numbers(self) -> dict[str, Any]:
        """Return all but the pixels, fit for JSON."""
        arrays = {name: value.tolist() for name, value in self.arrays().items() if name != "pixels"}
        return {**self.facts(), **arrays}
