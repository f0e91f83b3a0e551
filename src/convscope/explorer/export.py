"""The page as files: what it may ask of chosen layers and images, answered ahead."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convscope.errors import ConvscopeError
from convscope.explorer.answers import PLACES, Given, answer
from convscope.explorer.page import ASSETS, MODULES, script
from convscope.explorer.session import Session
from convscope.methods.budget import Progress
from convscope.methods.occlude.patches import default_stride
from convscope.methods.project import layers_shown
from convscope.network.layers import LayerName
from convscope.outputs import claim_folder, made_folder, write_text

KIND = "page"
TOP = 12
"""Channels of a layer that are answered for, where no number is given."""

FILL = "gray"
POLICY = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "script-src 'self' file:; style-src 'self' file: 'unsafe-inline'; img-src 'self' file: blob:\">"
)


def write_page(work: "Ahead", folder: str | Path, progress: Progress | None) -> Path:
    """Write the page as files, with what is asked ahead, and return the page itself."""
    folder = claim_folder(folder, KIND)
    page = (ASSETS / "index.html").read_text("utf-8")
    page = page.replace("<head>", f"<head>\n{POLICY}")
    page = page.replace(MODULES, '<script src="assets/files.js" defer></script>')
    _write(folder / "index.html", page)
    _write(folder / "assets/files.js", script("files.js"))
    for name in ("explore.css", "icon.svg"):
        _write(folder / "assets" / name, (ASSETS / name).read_text("utf-8"))
    total = len(work.facts["images"]) * (1 + len(work.layers))
    for number, (name, answers) in enumerate(work.parts()):
        content = json.dumps(answers, separators=(",", ":"))
        _write(folder / f"answers/{name}.js", f'convscope["{name}"] = {content};\n')
        if progress is not None:
            progress(number + 1, total)
    about = json.dumps({"state": work.about()})
    _write(folder / "answers/about.js", f"convscope.about = {about};\n")
    return folder / "index.html"


class Ahead:
    """What is asked ahead of a session, and its answers; see :func:`convscope.explore`."""

    def __init__(
        self,
        session: Session,
        layer: LayerName | Sequence[LayerName] | None,
        top: int | None,
        patch: int | None,
        stride: int | None,
        trust: bool,
    ) -> None:
        self.session, self.facts, self.trust = session, session.describe(), trust
        self.top = TOP if top is None else top
        self.patch = self.facts["patch"] if patch is None else patch
        height, width = self.facts["size"]
        own = default_stride((height, width), (self.patch, self.patch))
        step = own if stride is None else stride
        if self.top < 1 or step < 1 or not 1 <= self.patch < min(height, width):
            raise ConvscopeError(
                f"top and stride are 1 or more, and the patch is 1 to {min(height, width) - 1}"
            )
        self.rows, self.columns = (
            sorted({*range(0, side - self.patch, step), side - self.patch})
            for side in (height, width)
        )
        chosen = {*layers_shown(session.net, layer, None, 1)}
        self.layers = {
            own["name"]: number
            for number, own in enumerate(self.facts["layers"])
            if own["name"] in chosen
        }
        self.channels = {layer: self._strongest(layer) for layer in self.layers}

    def about(self) -> dict[str, Any]:
        """Return what the page knows of the network, and what of it was answered ahead."""
        ahead = {
            "rows": self.rows, "columns": self.columns, "channels": self.channels,
            "trust": self.trust,
        }  # fmt: skip
        return {**self.facts, "patch": self.patch, "ahead": ahead}

    def parts(self) -> Any:
        """Yield each file's name and its answers: an image's, then each of its layers'."""
        for image in range(len(self.facts["images"])):
            yield str(image), self._image(image)
            for layer, number in self.layers.items():
                yield f"{image}-{number}", self._layer(image, layer)

    def _strongest(self, layer: str) -> list[int]:
        """Return the channels that reach most in any of the images, above what they typically do.

        All images have the same ones, to be compared by.
        """
        found = [self.session.maps(image, layer)[0] for image in range(len(self.facts["images"]))]
        reached = [
            max(own)
            for own in zip(*(one["relative"] or one["peaks"] for one in found), strict=True)
        ]
        return sorted(range(len(reached)), key=lambda channel: -reached[channel])[: self.top]

    def _ask(self, question: str, given: dict[str, Any]) -> bytes:
        texts: Given = {name: str(value) for name, value in given.items()}
        return answer(self.session, question, texts, small=True)

    def _image(self, image: int) -> dict[str, Any]:
        (clean,) = json.loads(self._ask("reading", {"image": image}))
        answers = {
            key("picture", {}): _text(self._ask("picture", {"image": image})),
            key("reading", {}): [clean],
        }
        if not clean["classes"]:
            return answers
        classes = ",".join(str(one["number"]) for one in clean["classes"])
        hidden = {"patch": self.patch, "fill": FILL}
        places = [f"{row},{column}" for row in self.rows for column in self.columns]
        for first in range(0, len(places), PLACES):
            part = places[first : first + PLACES]
            asked = {"image": image, "places": ";".join(part), "classes": classes, **hidden}
            for place, found in zip(part, json.loads(self._ask("reading", asked)), strict=True):
                answers[key("reading", {"places": place, **hidden})] = [found]
        return answers

    def _layer(self, image: int, layer: str) -> dict[str, Any]:
        of_layer = {"image": image, "layer": layer}
        answers: dict[str, Any] = {key("maps", {}): _text(self._ask("maps", of_layer))}
        classes = ",".join(str(one["number"]) for one in self.session.read(image)[0]["classes"])
        convolution = self.facts["layers"][self.layers[layer]]["convolution"]
        drawn = ["kernel"] if convolution else []
        drawn += ["patches"] if convolution in self.facts["atlas"] else []
        for channel in self.channels[layer]:
            for question in drawn:
                found = self._ask(question, {"layer": layer, "channel": channel})
                answers[key(question, {"channel": channel})] = _text(found)
            if self.trust:
                found = self._ask("trust", {**of_layer, "channel": channel})
                answers[key("trust", {"channel": channel})] = json.loads(found)
            for rule in self.facts["rules"]:
                given = {"channel": channel, "rule": rule}
                answers[key("unit", given)] = _text(self._ask("unit", {**of_layer, **given}))
            if not classes:
                continue
            for given in ({"scale": f"{channel}:0"}, {"only": channel}):
                asked = {**of_layer, **given, "classes": classes}
                answers[key("intervention", given)] = json.loads(self._ask("intervention", asked))
        return answers


def key(question: str, given: dict[str, Any]) -> str:
    """Return what an answer is found by in its file, as ``files.js`` does.

    >>> key("unit", {"rule": "guided", "channel": 3})
    'unit?channel=3&rule=guided'
    """
    return f"{question}?{'&'.join(f'{name}={given[name]}' for name in sorted(given))}"


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _write(path: Path, text: str) -> None:
    made_folder(path.parent)
    write_text(path, text)
