"""The four variants of the 2018 study: with or without batch norm, with or without padding."""

from __future__ import annotations

from dataclasses import dataclass, replace

from convscope.study.config import TrainConfig, variant_of


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
        """What people call it."""
        return f"{self.norm_words}, {self.padding_words}"

    @property
    def folder(self) -> str:
        """Its name, fit for a folder."""
        return f"{self.norm_words.replace(' ', '-')}-{self.padding}"

    def config(self, base: TrainConfig, seed: int) -> TrainConfig:
        """Return the training of this variant and seed."""
        seeded = replace(base, seed=seed)
        return variant_of(seeded, batch_norm=self.batch_norm, padding=self.padding)


VARIANTS = tuple(
    Variant(batch_norm, padding) for batch_norm in (True, False) for padding in ("same", "valid")
)
