"""Free pictures that ship with convscope; ``LICENCES.md`` beside them says whose they are."""

from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True)
class SamplePicture:
    """A picture.

    Attributes:
        file: its name in this package.
        title: what it shows, with an article.
        credit: whose it is.
        known: what it shows as one word, if CIFAR-10 has such a class.
    """

    file: str
    title: str
    credit: str
    known: str | None = None

    def content(self) -> bytes:
        """Return the file's bytes.

        >>> SAMPLES[0].content()[:2].hex()
        'ffd8'
        """
        return (files(__name__) / self.file).read_bytes()


SAMPLES = (
    SamplePicture("cat.jpg", "a cat", "Stéfan van der Walt, CC0", known="cat"),
    SamplePicture("horse.png", "the outline of a horse", "Andreas Preuss, CC0", known="horse"),
    SamplePicture("rocket.jpg", "a rocket", "SpaceX, public domain"),
    SamplePicture("coffee.jpg", "a cup of coffee", "Rachel Michetti, CC0"),
)
