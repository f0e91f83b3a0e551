"""The four variants of the 2018 study: with or without batch norm, with or without padding."""

from dataclasses import dataclass, replace

from convscope.study.config import TrainConfig, variant_of

# What nets without batch norm take of the learning rates. On the held-out images, after one epoch
# of the preset "study": with batch norm, 0.3 is better than 0.1; without, 0.1 than 0.3 and 0.05.
SHARE_OF_RATE = 1 / 3


@dataclass(frozen=True)
class Variant:
    """One of the four.

    >>> [variant.folder for variant in VARIANTS]
    ['batch-norm-same', 'batch-norm-valid', 'no-batch-norm-same', 'no-batch-norm-valid']

    Attributes:
        batch_norm: whether each convolution's maps are normalised over the batch.
        padding: ``"same"`` or ``"valid"``.
    """

    batch_norm: bool
    padding: str

    @property
    def norm_words(self) -> str:
        """Whether there is batch norm, in words."""
        return "batch norm" if self.batch_norm else "no batch norm"

    @property
    def padding_words(self) -> str:
        """The padding, in words."""
        return f"{self.padding} padding"

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return f"{self.norm_words}, {self.padding_words}"

    @property
    def phrase(self) -> str:
        """What it is called within a sentence.

        >>> Variant(False, "valid").phrase
        'valid padding without batch norm'
        """
        return f"{self.padding_words} {'with' if self.batch_norm else 'without'} batch norm"

    @property
    def folder(self) -> str:
        """Its name, fit for a folder."""
        return f"{self.norm_words.replace(' ', '-')}-{self.padding}"

    def config(self, base: TrainConfig, seed: int) -> TrainConfig:
        """Return the training of this variant and seed.

        One learning rate for all would be too low for the nets with batch norm or too high for
        those without, and the comparison would be of that.

        >>> from convscope.study.config import PRESETS
        >>> base = PRESETS["study"]
        >>> [variant.config(base, 0).learning_rate for variant in VARIANTS]
        [0.3, 0.3, 0.1, 0.1]
        """
        share = 1 if self.batch_norm else SHARE_OF_RATE
        seeded = replace(
            base,
            seed=seed,
            learning_rate=_three_digits(share * base.learning_rate),
            other_learning_rate=_three_digits(share * base.other_learning_rate),
        )
        return variant_of(seeded, batch_norm=self.batch_norm, padding=self.padding)


def _three_digits(rate: float) -> float:
    """Return a rate without the rounding errors of arithmetic."""
    return float(f"{rate:.3g}")


VARIANTS = tuple(
    Variant(batch_norm, padding) for batch_norm in (True, False) for padding in ("same", "valid")
)
