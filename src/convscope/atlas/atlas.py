"""An atlas folder, read back."""

import json
import os
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from convscope.arguments import misshapen
from convscope.atlas import place
from convscope.errors import DataError, UnitError, near_matches
from convscope.methods.plate import AtlasUnit, Plate, chosen_channels
from convscope.methods.scanning.result import Scan
from convscope.network import Network
from convscope.network.constants import weights_hash
from convscope.wording import counted

# What the files must hold to be read.
FACTS = {
    "network": str,
    "layers": [
        {"name": str, "read_at": str, "channels": int, "slug": str, "receptive_field": [int]}
    ],
    "model": (dict, NoneType),
    "data": {"name": str, "fingerprint": str},
    "weights": str,
    "rule": str,
    "images_counted": int,
    "notes": [str],
}
LAYER = {
    "channels": [{"entries": [list], "name": str}],
    "titles": dict,
    "tile": [int],
    "enlarged": (int, float),
    "suffix": str,
}


class Atlas:
    """An atlas folder.

    Args:
        folder: what ``convscope scan -o`` wrote.

    Raises:
        DataError: if it holds no finished atlas.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        try:
            self.facts: dict[str, Any] = json.loads((self.folder / place.FACTS).read_text("utf-8"))
        except OSError:
            unfinished = (self.folder / place.TALLY).exists()
            hint = "; its scan is not finished: go on with --resume" if unfinished else ""
            raise DataError(f"{self.folder} holds no atlas{hint}") from None
        except ValueError as error:
            raise DataError(f"{self.folder / place.FACTS} is damaged: {error}") from error
        if wrong := misshapen(self.facts, FACTS):
            raise DataError(f"{self.folder / place.FACTS} is no atlas's: {wrong}")

    def __repr__(self) -> str:
        """Return where it is, and what of."""
        images = counted(self.facts["images_counted"], "image")
        of = f"{self.facts['network']}, {counted(len(self.facts['layers']), 'layer')}, {images}"
        return f"Atlas({str(self.folder)!r}: {of} of {self.facts['data']['name']})"

    def check_weights(self, net: Network) -> None:
        """Refuse another network than that whose channels are shown.

        Raises:
            DataError: if it has other weights.
        """
        if self.facts["weights"] != weights_hash(net):
            raise DataError(f"{self.folder} is an atlas of other weights than {net.name}'s")

    def layer(self, name: str) -> dict[str, Any]:
        """Return a layer's facts, by the convolution's name or by where its units are read.

        Raises:
            UnitError: if there is none of the name.
        """
        for key in ("name", "read_at"):
            for layer in self.facts["layers"]:
                if layer[key] == name:
                    return dict(layer)
        known = [layer["name"] for layer in self.facts["layers"]]
        hint = near_matches(name, known) or f"; it has {', '.join(known)}"
        raise UnitError(f"the atlas has no layer {name!r}{hint}")

    def unit(self, name: str, channel: int) -> AtlasUnit:
        """Return a channel of a layer.

        Raises:
            UnitError: if the atlas has no such layer or channel.
            DataError: if its files are damaged.
        """
        layer = self.layer(name)
        if not 0 <= channel < layer["channels"]:
            raise UnitError(
                f"layer {name!r} has channels 0 to {layer['channels'] - 1}, not {channel}"
            )
        path = place.layers_folder(self.folder) / f"{layer['slug']}.js"
        try:
            text = path.read_text("utf-8")
            data = json.loads(text[text.index("(") + 1 : text.rindex(")")])
            if wrong := misshapen(data, LAYER):
                raise ValueError(wrong)
            facts = data["channels"][channel]
            entries = facts.pop("entries")
            patches, projections = self._tiles(path, data, channel, len(entries))
            numbers = torch.tensor(entries, dtype=torch.float64).view(len(entries), 10)
            titles = tuple(data["titles"][str(entry[0])] for entry in entries)
        except (OSError, ValueError, KeyError, IndexError, TypeError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise DataError(f"the atlas is damaged at {path}: {reason}") from error
        return AtlasUnit(
            patches=patches,
            projections=projections,
            image=numbers[:, 0].long(),
            peak=numbers[:, 1],
            position=numbers[:, 2:4].long(),
            window=numbers[:, 4:8].long(),
            limit=numbers[:, 8],
            clipped=numbers[:, 9],
            titles=titles,
            network=self.facts["network"],
            layer=layer["name"],
            read_at=layer["read_at"],
            channel=channel,
            name=facts.pop("name"),
            receptive_field=tuple(layer["receptive_field"]),
            enlarged=data["enlarged"],
            statistics=facts,
            rule=self.facts["rule"],
            images=self.facts["images_counted"],
            data=self.facts["data"]["name"],
            notes=tuple(self.facts["notes"]),
        )

    def plate(self, **options: Any) -> Plate:
        """Draw channels of several layers, each as its strongest patches beside its projections.

        Args:
            options: *layer*, *channels*, *count*, *choose* and *seed* as for :meth:`.Scan.plate`;
                the rule is the atlas's.

        Raises:
            UnitError: if there is no such layer or channel, or nothing to choose from.
            DataError: if the atlas is damaged.
        """
        scan = Scan.load(self.folder / place.TALLY)
        chosen = chosen_channels(scan, **options)
        units = [self.unit(layer.name, channel) for layer, channel in chosen]
        named = options.get("channels") is not None
        how = "" if named else options.get("choose", "consistent")
        return Plate.of(units, [layer for layer, _ in chosen], how)

    def _tiles(
        self, path: Path, data: dict[str, Any], channel: int, entries: int
    ) -> tuple[Tensor, Tensor]:
        """Return a channel's patches and projections, uint8 [n, H, W, 3]."""
        width, height = data["tile"]
        if not entries:
            none = torch.zeros(0, height, width, 3, dtype=torch.uint8)
            return none, none.clone()
        with Image.open(path.with_suffix("") / f"unit-{channel}{data['suffix']}") as opened:
            strip = torch.from_numpy(np.array(opened.convert("RGB")))
        cut = strip[: 2 * height, : entries * width].reshape(2, height, entries, width, 3)
        patches, projections = cut.transpose(1, 2).contiguous()
        return patches, projections.clone()


def scanned_images(folder: Path) -> tuple[Scan | None, Path | None]:
    """Return the scan in an atlas folder, and the folder of its images if that is there still.

    Of any other folder: no scan, and the folder itself.

    Raises:
        DataError: if it is a damaged atlas.
    """
    if not (folder / place.TALLY).exists():
        return None, folder
    model = Atlas(folder).facts["model"]
    scan = Scan.load(folder / place.TALLY)
    images = None if model is None else Path(model["images"])
    return scan, images if images is not None and images.is_dir() else None
