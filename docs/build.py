"""Build the documentation as HTML: the pages, the notebook with its pictures, and the reference.

`make docs` runs it. The reference is made from the docstrings by pdoc, whose Markdown the pages
use too; the folder has the layout of the repository, so that links need a new ending only.
"""

import re
import shutil
import sys
import tempfile
from html import escape
from os.path import relpath
from pathlib import Path

import nbformat
import pdoc
import pdoc.render
from nbclient import NotebookClient
from pdoc.render_helpers import to_html

ROOT = Path(__file__).parents[1]
NOTEBOOK = "examples/start.ipynb"
REFERENCE = "reference"
LINK = re.compile(r"(\]\()([^)#\s]+)")
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
html {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 0 auto; padding: 1rem; }}
pre, code {{ font: 13px/1.4 ui-monospace, monospace; background: #8882; }}
pre {{ padding: .6rem; overflow-x: auto; }}
img {{ max-width: 100%; }}
td, th {{ border-bottom: 1px solid #8886; padding: .2rem .6rem; text-align: left; }}
table {{ border-collapse: collapse; display: block; overflow-x: auto; }}
</style>
<nav>{navigation}</nav>
<main>
{body}
</main>
"""


def pages() -> list[Path]:
    """Return the Markdown pages, the first one first."""
    return [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")), ROOT / "CONTRIBUTING.md"]


def built(source: Path) -> Path:
    """Return where in the built folder a file of the repository lies, relative to it."""
    inside = source.resolve().relative_to(ROOT)
    if inside.name == "README.md":
        return Path("index.html")
    return inside.with_suffix(".html") if inside.suffix in (".md", ".ipynb") else inside


def write(source: Path, text: str, out: Path) -> None:
    """Write a page of Markdown as HTML, and copy the files that it shows or links to."""
    place = out / built(source)

    def linked(match: re.Match[str]) -> str:
        target = (source.parent / match[2]).resolve()
        if ":" in match[2] or not target.is_file():
            return match[0]
        there = out / built(target)
        if there.suffix != ".html":
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(target, there)
        return match[1] + relpath(there, place.parent)

    title = re.search(r"^# (.+)$", text, re.MULTILINE)
    others = {"convscope": "index.html", "Start here": built(ROOT / NOTEBOOK)}
    others |= {"Names": "docs/names.html", "Reference": f"{REFERENCE}/convscope.html"}
    links = (
        f'<a href="{relpath(out / file, place.parent)}">{name}</a>' for name, file in others.items()
    )
    page = PAGE.format(
        title=escape(title[1] if title else source.stem),
        navigation=" · ".join(links),
        body=to_html(LINK.sub(linked, text)),
    )
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(page, "utf-8")


def notebook(run: bool) -> str:
    """Return the notebook as Markdown, with what its cells answer if it is *run*."""
    read = nbformat.read(ROOT / NOTEBOOK, nbformat.NO_CONVERT)
    if run:
        with tempfile.TemporaryDirectory() as scratch:
            NotebookClient(read, timeout=300, resources={"metadata": {"path": scratch}}).execute()
    parts = []
    for cell in read.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        for data in (output.data for output in cell.outputs if "data" in output):
            picture = data.get("image/png")
            parts.append(
                f"![What the cell shows](data:image/png;base64,{''.join(picture.split())})"
                if picture
                else f"```text\n{data['text/plain']}\n```"
            )
    return "\n\n".join(parts)


def build(out: Path, run: bool = True) -> None:
    """Write the documentation to a folder.

    Args:
        out: the folder.
        run: whether to run the notebook, which takes half a minute.

    """
    # A class's fields stand in its own text, and not once more each.
    pdoc.render.configure(
        docformat="google", show_source=False, include_undocumented=False,
        logo_link="../index.html", template_directory=ROOT / "docs" / "reference",
    )  # fmt: skip
    pdoc.pdoc("convscope", output_directory=out / REFERENCE)
    for page in pages():
        write(page, page.read_text("utf-8"), out)
    write(ROOT / NOTEBOOK, notebook(run), out)


if __name__ == "__main__":
    build(Path(sys.argv[1]))
