"""Attribution: what each pixel has to do with the score of a class, by any of the methods."""

from dataclasses import dataclass
from math import isnan
from typing import Any, ClassVar

from torch import Tensor

from convscope.errors import RuleError, check_known
from convscope.methods.projection import Projection
from convscope.network.rules import DEEPLIFT, RULES


@dataclass(frozen=True)
class Method:
    """A way to see what a class's score hangs on.

    Attributes:
        name: the name used in calls and on the command line.
        source: where it was published.
        shows: what its pictures show, in words that follow its name.
        promise: what its pictures keep to, in words.
    """

    name: str
    source: str
    shows: str
    promise: str


_PLACES = "where in this image the layer speaks for the class: dark nowhere, yellow the most"
_PIXELS = "what each pixel adds to the class's score"
CAMS = {
    method.name: method
    for method in (
        Method("grad-cam", "Selvaraju et al. 2017, arXiv 1610.02391, sec. 3", _PLACES,
               "channels by the mean of their derivatives, what speaks against left out"),
        Method("grad-cam++", "Chattopadhay et al. 2018, arXiv 1710.11063, sec. 3", _PLACES,
               "the same, with derivatives weighed by their size"),
        Method("hires-cam", "Draelos & Carin 2020, arXiv 2011.08891, sec. 3", _PLACES,
               "adds up to the score, less biases, of a linear end; what speaks against left out"),
        Method("layer-cam", "Jiang et al. 2021, doi 10.1109/TIP.2021.3089943, sec. III", _PLACES,
               "derivatives place by place, the positive ones alone"),
        Method("guided-grad-cam", "Selvaraju et al. 2017, arXiv 1610.02391, sec. 3.2",
               "what drives the class where its layer speaks for it",
               "grad-cam times guided backpropagation"),
    )
}  # fmt: skip
PATHS = {
    method.name: method
    for method in (
        Method("integrated-gradients", "Sundararajan et al. 2017, arXiv 1703.01365, sec. 3",
               _PIXELS, "adds up to the score less that of the baseline"),
        Method("expected-gradients", "Erion et al. 2021, arXiv 1906.10670, sec. 2.1", _PIXELS,
               "adds up, on average, to the score less the baselines' mean score"),
        Method("smoothgrad", "Smilkov et al. 2017, arXiv 1706.03825, sec. 2",
               "how the class's score rises with each pixel, in noise", "nothing to add up"),
        Method("deeplift", DEEPLIFT.source, _PIXELS, DEEPLIFT.promise),
    )
}  # fmt: skip
METHODS = {
    **CAMS,
    **PATHS,
    **{
        name: Method(name, rule.source, rule.shows.replace("each unit", "the class's score", 1)
                     if rule.composite is None else "each pixel's share in the class's score",
                     rule.promise)
        for name, rule in RULES.items()
    },
}  # fmt: skip
"""All of them; those that are rules bring a class's score down as they do any unit."""


RECOMMENDED = "epsilon-plus"
"""What finds planted truths of classes best: docs/attribute.md."""


def method_named(name: str) -> Method:
    """Return the method called *name*, or refuse it with what is near."""
    check_known("method", name, METHODS, RuleError)
    return METHODS[name]


@dataclass(frozen=True, eq=False, repr=False)
class Attribution(Projection):
    """What each pixel has to do with the scores of classes, K of each image.

    It is a :class:`Projection` of the scores, whole images: its rule is the method's name, its
    activation the scores, its channels the classes, its layers where class activation maps were
    made. Its pixels have one channel where the method gives places and no colours.

    Attributes:
        maps: [N, K, h, w], what a class activation map is at its layer, before it was enlarged to
            the image; None of other methods.
        expected: [N, K], what the pixels should add up to, biases and rounding apart; NaN where
            the method promises no sum.
    """

    maps: Tensor | None
    expected: Tensor

    measure: ClassVar[str] = "score"

    @property
    def of_places(self) -> bool:  # type: ignore[override]
        """Whether it is a class activation map, which is drawn over the image."""
        return self.rule in CAMS and self.rule != "guided-grad-cam"

    @property
    def how(self) -> Any:
        """The method, with its name, its source, what it shows and what it keeps to."""
        return method_named(self.rule)

    @property
    def missing(self) -> Tensor:
        """By how much the pixels add up to less than they should, [N, K]: the completeness error.

        Of relevance it is what biases took.
        """
        return self.expected - self.pixels.sum((2, 3, 4))

    def cropped(self, n: int, k: int) -> Tensor:
        """Return class *k* of image *n*, [C, H, W]; one number a pixel where shares add up."""
        if self.rule in RULES:
            return super().cropped(n, k)
        own = self.pixels[n, k].cpu()
        signal = self.rule in ("smoothgrad", "guided-grad-cam")
        return self.preprocess.difference_to_pixels(own) if signal else own.sum(0, keepdim=True)

    def table(self) -> list[dict[str, Any]]:
        """Return a row a class: image, class, its score, and what its pixels add up to."""
        sums = self.pixels.sum((2, 3, 4))
        return [
            {
                "image": title, "class": int(self.channels[n, k]), "name": self.names[n][k],
                "score": float(self.activation[n, k]), "sum": float(sums[n, k]),
                "expected": float(self.expected[n, k]), "missing": float(self.missing[n, k]),
            }
            for n, title in enumerate(self.titles)
            for k in range(len(self.layers))
        ]  # fmt: skip

    def summary(self) -> str:
        """Return a line a class."""
        lines = []
        for row in self.table():
            adds = f"; adds up to {row['sum']:.4g} of {row['expected']:.4g}"
            end = "" if isnan(row["expected"]) else adds
            lines.append(f"{row['image']}  {row['name']}  score {row['score']:.4g}{end}")
        return "\n".join(lines)
