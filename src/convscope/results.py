"""Results: what every method returns, able to show, save and describe itself."""

import csv
import io
import json
import os
import platform
import sys
import tempfile
import webbrowser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from convscope import __version__
from convscope.arguments import checked
from convscope.display import as_array
from convscope.errors import ConvscopeError, OutputError
from convscope.outputs import check_folder, check_output, finite, write_text, written_beside
from convscope.packing import load_tensors, plain_of, put_together, save_tensors, tensors_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES = (".png", ".svg", ".pdf")
FILMS = (".gif", ".mp4")
ARRAYS = (".npz", ".safetensors")
FOLDER = "none for a folder"


def provenance() -> dict[str, str]:
    """Return the versions and the machine that a result was made with."""
    return {
        "convscope": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def csv_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as the text of a .csv file."""
    text = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


ON_SCREEN = 770
"""How wide a notebook shows a figure, in CSS pixels: it has twice as many, for dense screens."""


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Result:
    """What the methods' results have in common: tensors, facts about them, and ways to show them.

    Attributes:
        notes: what a picture of this must say, such as ``"random weights"``.
        partial: why there is less than was asked for, ``"interrupted"`` or ``"budget"``; empty
            where all of it is there.
        made_with: versions and machine.
    """

    notes: tuple[str, ...] = ()
    partial: str = ""
    made_with: dict[str, str] = field(default_factory=provenance)

    # What kinds of results say of themselves: the modules in convscope.figures whose `figure` and
    # `film` draw them, and what a folder of theirs is marked as, each empty where there is none;
    # the tensors to be seen and not read, which numbers leave out; and what writes that folder,
    # "module:name", called with the result and the path.
    figure: ClassVar[str] = ""
    film: ClassVar[str] = ""
    folder: ClassVar[str] = ""
    seen_only: ClassVar[tuple[str, ...]] = ()
    writer: ClassVar[str] = ""

    def arrays(self) -> dict[str, Tensor]:
        """Return the tensors by name, those inside others as ``"maps/0/probability"``."""
        return tensors_of(self)

    def derived(self) -> dict[str, Tensor]:
        """Return tensors that follow from the others, which ``.npz`` files hold too."""
        return {}

    def facts(self) -> dict[str, Any]:
        """Return everything but the tensors, fit for JSON."""
        found: dict[str, Any] = plain_of(self)
        return found

    def to_dict(self, **options: Any) -> dict[str, Any]:
        """Return all but the pictures, fit for JSON but for values that are not finite.

        Args:
            options: those of :meth:`plot` that numbers depend on, such as a display scale.
        """
        found = plain_of(self, with_tensors=True)
        return {name: value for name, value in found.items() if name not in self.seen_only}

    def to_json(self) -> str:
        """Return :meth:`to_dict` as one line of JSON, with null for what is not finite."""
        return json.dumps(finite(self.to_dict()), allow_nan=False)

    def table(self) -> list[dict[str, Any]]:
        """Return rows that ``pandas.DataFrame`` takes.

        Raises:
            OutputError: if the result is no table.
        """
        raise OutputError(f"a {type(self).__name__} is no table: take its to_dict()")

    def summary(self) -> str:
        """Return what was found, in a few lines of text."""
        return f"{type(self).__name__}"

    def plot(
        self, *, width: str | float = "text", caption: str = "short", **options: Any
    ) -> "Figure":
        """Draw the result.

        Args:
            width: ``"column"``, ``"text"``, ``"slide"``, or inches; letters keep their size.
            caption: ``"none"``, ``"short"`` (a line) or ``"full"``; what a picture must say of the
                network, such as random weights, stays in any case.
            options: what this kind of figure can do besides.

        Raises:
            OutputError: if there is no such width or caption, or the figure would be too large.
        """
        figure: Figure = self.sheet(width, caption, **options).figure
        return figure

    def sheet(self, width: str | float, caption: str, **options: Any) -> Any:
        """Return the figure as a :class:`~convscope.figures.sheet.Sheet`; see :meth:`plot`."""
        # By its name, and only now: the figures lie above the methods, and take time to import.
        if not self.figure:
            raise OutputError(f"there is no figure of a {type(self).__name__}")
        style = import_module("convscope.figures.style").style(width, caption)
        draw = import_module(f"convscope.figures.{self.figure}").figure
        known = [*signature(draw).parameters][2:]
        if odd := options.keys() - set(known):
            raise OutputError(
                f"a figure of this kind has no option {min(odd)!r}, only width, caption"
                f"{''.join(f', {name}' for name in known)}"
            )
        return draw(self, style, **options)

    @classmethod
    def endings(cls) -> tuple[str, ...]:
        """Return the endings of the files that :meth:`save` can write."""
        figures = (*(FIGURES if cls.figure else ()), *(FILMS if cls.film else ()))
        table = () if cls.table is Result.table else (".csv",)
        others = (*table, *ARRAYS, *((FOLDER,) if cls.folder else ()))
        return (*figures, ".json", *others)

    @classmethod
    def check(
        cls, path: str | os.PathLike[str], images: str | os.PathLike[str] | None = None
    ) -> Path:
        """Return *path* if :meth:`save` can write there; meant to be called before the work.

        A folder may not lie among the *images*, if that is a folder of pictures that are read.

        Raises:
            OutputError: if its ending is another, or nothing can be written there.
        """
        if cls.folder and not Path(path).suffix:
            return check_folder(path, cls.folder, images)
        found = check_output(path, cls.endings())
        if found.suffix.lower() == ".mp4":  # which takes a package that may be missing
            import_module("convscope.figures.film").mp4_encoder()
        return found

    @checked
    def save(
        self,
        path: str | os.PathLike[str],
        *,
        width: str | float = "text",
        caption: str = "short",
        **options: Any,
    ) -> None:
        """Write a file of the kind that its ending names.

        ``.png``, ``.svg`` and ``.pdf`` hold the figure, ``.gif`` and ``.mp4`` the film, ``.json``
        the numbers, ``.csv`` the table, ``.npz`` and ``.safetensors`` the arrays with all facts;
        :meth:`load` reads the last. A name without an ending is a folder, for a page and its parts.
        Each kind of result has those that :meth:`endings` names.

        Args:
            path: the file or folder.
            width: see :meth:`plot`.
            caption: see :meth:`plot`.
            options: see :meth:`plot`; of a folder those of what writes it.

        Raises:
            OutputError: if the ending is another, or the file cannot be written.
        """
        path = self.check(path)
        ending = path.suffix.lower()
        if self.folder and not ending:
            module, _, name = self.writer.partition(":")
            getattr(import_module(module), name)(self, path, **options)
        elif ending in FIGURES:
            sheet = self.sheet(width, caption, **options)
            with written_beside(path) as beside:
                sheet.save(beside)
        elif ending in FILMS:
            film = import_module(f"convscope.figures.{self.film}").film(self)
            with written_beside(path) as beside:
                film.save(beside)
        elif ending in ARRAYS:
            self._save_arrays(path)
        else:
            text = csv_of(self.table()) if ending == ".csv" else self.to_json() + "\n"
            write_text(path, text)

    def _save_arrays(self, path: Path) -> None:
        facts = json.dumps(self.facts())
        if path.suffix.lower() == ".safetensors":
            # Copies, because a file cannot hold one tensor under two names.
            tensors = {name: value.clone() for name, value in self.arrays().items()}
            save_tensors(path, tensors, {type(self).__name__: facts})
            return
        values = {**self.arrays(), **self.derived()}
        arrays: dict[str, Any] = {name: as_array(value) for name, value in values.items()}
        with written_beside(path) as beside:
            np.savez_compressed(beside, **arrays, facts=np.array(facts))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what :meth:`save` wrote as ``.safetensors``.

        Raises:
            OutputError: if the file is missing or holds something else.
        """
        if Path(path).suffix != ".safetensors" and Path(path).is_file():
            raise OutputError(f"only .safetensors can be loaded again, not {path}")
        try:
            tensors, facts = load_tensors(path)
            found: Self = put_together(cls, dict(json.loads(facts[cls.__name__])), tensors)
            return found
        except OSError as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise OutputError(f"{path} is not a saved {cls.__name__}: {reason}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise OutputError(
                f"{path} is not a saved {cls.__name__}: it holds something else, or comes from "
                f"another version of convscope"
            ) from error

    def __repr__(self) -> str:
        """Return the summary, cut to a few lines."""
        lines = self.summary().splitlines()
        more = f"\n... {len(lines) - 6} more lines: print(r.summary())" if len(lines) > 7 else ""
        shown = lines if len(lines) <= 7 else lines[:6]
        return "\n".join(line if len(line) <= 110 else line[:109] + "…" for line in shown) + more

    def _repr_png_(self) -> tuple[bytes, dict[str, int]] | None:
        """Return the figure for a notebook, which shows the text alone where none can be drawn."""
        try:
            return (self.png(), {"width": ON_SCREEN}) if self.figure else None
        except ConvscopeError:  # too much for a picture, or a rule that means nothing here
            return None

    def png(self, width: str | float = "text", caption: str = "short") -> bytes:
        """Return the figure as a PNG's bytes; see :meth:`plot`."""
        file = io.BytesIO()
        self.sheet(width, caption).save(file)
        return file.getvalue()

    def show(self, **options: Any) -> None:
        """Show the figure, or else the page: in the notebook, or else in the browser.

        Args:
            options: those of :meth:`plot`.
        """
        if in_notebook():
            import_module("IPython.display").display(self.plot(**options) if self.figure else self)
            return
        place = Path(tempfile.mkdtemp(), "figure.png" if self.figure else "page")
        self.save(place, **options)
        webbrowser.open((place if self.figure else place / "index.html").as_uri())


def in_notebook() -> bool:
    """Return whether a notebook's kernel runs this."""
    shell = import_module("IPython").get_ipython() if "IPython" in sys.modules else None
    return shell is not None and bool(shell.has_trait("kernel"))
