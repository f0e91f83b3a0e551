"""The page's own files, and its script in one piece for where a browser loads no modules."""

import re
from importlib.resources import files

ASSETS = files("convscope.explorer") / "assets"
MODULES = '<script type="module" src="assets/explore.js"></script>'
ICON = '<link rel="icon" href="assets/icon.svg">'
STYLE = '<link rel="stylesheet" href="assets/explore.css">'

IMPORT = re.compile(r'^import [^;]*? from "\./([\w-]+\.js)";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (async function|function|class|const|let) ([\w$]+)", re.MULTILINE)


def script(entry: str) -> str:
    """Return a module of the page and all that it imports as one classic script.

    Each module is a block of its own, and what modules export are variables around the blocks, so
    that one may use what another exports only later, as among modules.
    """
    names: list[str] = []
    blocks: list[str] = []
    seen: set[str] = set()

    def add(name: str) -> None:
        if name in seen:
            return
        seen.add(name)
        source = (ASSETS / name).read_text("utf-8")
        for other in IMPORT.findall(source):
            add(other)
        names.extend(exported for _, exported in EXPORT.findall(source))
        blocks.append(f"{{\n{EXPORT.sub(_assigned, IMPORT.sub('', source))}}}\n")

    add(entry)
    return f'"use strict";\n(() => {{\nlet {", ".join(names)};\n{"".join(blocks)}}})();\n'


def inlined(entry: str) -> str:
    """Return the page as one text, which needs no other file, begun by a module of it."""
    page = (ASSETS / "index.html").read_text("utf-8").replace(ICON, "")
    page = page.replace(STYLE, f"<style>\n{(ASSETS / 'explore.css').read_text('utf-8')}</style>")
    return page.replace(MODULES, f'<script type="module">\n{script(entry)}</script>')


def _assigned(export: re.Match[str]) -> str:
    kind, name = export.groups()
    return name if kind in ("const", "let") else f"{name} = {kind} {name}"
