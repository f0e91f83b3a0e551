"""The pages: no link is dead, and everything public says what it is."""

import importlib.util
import inspect
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import convscope as cs

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("docs/**/*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md")
)
NAMES = sorted(set(cs.__all__) - {"__version__"})


def prose(page: Path) -> str:
    """Return a page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Return the names that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in kept}


@pytest.mark.parametrize("page", PAGES)
def test_no_link_is_dead(page):
    place = ROOT / page
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(place)):
        if re.match(r"https?:|mailto:", target):
            continue
        file, _, anchor = target.partition("#")
        linked = (place.parent / file).resolve() if file else place
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), target


def test_every_page_is_reached_from_the_readme():
    seen, waiting = set(), ["README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or not page.endswith(".md"):
            continue
        seen.add(page)
        for target in re.findall(r"\]\(([^)\s#]+)", prose(ROOT / page)):
            linked = (ROOT / page).parent / target
            if linked.exists() and linked.resolve().is_relative_to(ROOT):
                waiting.append(linked.resolve().relative_to(ROOT).as_posix())
    assert set(PAGES) - seen == set()


class Links(HTMLParser):
    """The links and anchors of a page of HTML."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.anchors.add(given.get("id", ""))
        self.targets += [given[name] for name in ("href", "src") if given.get(name)]


@pytest.mark.slow
def test_no_link_of_the_built_documentation_is_dead(tmp_path):
    spec = importlib.util.spec_from_file_location("build", ROOT / "docs/build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.build(tmp_path, run=False)
    pages = {page: Links(page) for page in tmp_path.rglob("*.html")}
    assert len(pages) > len(PAGES) + 1
    dead = []
    for page, links in pages.items():
        for target in links.targets:
            file, _, anchor = target.partition("#")
            linked = (page.parent / file).resolve() if file else page
            outside = re.match(r"https?:|mailto:|data:", target)
            found = linked.exists() and (not anchor or anchor in pages[linked].anchors)
            if not outside and not found:
                dead.append(f"{page.relative_to(tmp_path)}: {target}")
    assert dead == []
    reference = pages[tmp_path / "reference/convscope.html"]
    assert {*NAMES} <= reference.anchors


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_says_what_it_takes_or_shows_it(name):
    public = getattr(cs, name)
    said = inspect.getdoc(public) or ""
    assert said, name
    expected = (">>> ", "Args:", "Attributes:", "Example:")
    nothing_to_say = inspect.isclass(public) and issubclass(public, BaseException)
    assert nothing_to_say or any(part in said for part in expected), said


def test_no_page_of_how_to_is_without_a_heading():
    for page in PAGES:
        assert (ROOT / page).read_text("utf-8").startswith("# "), page


def test_a_change_goes_where_contributing_says():
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    table = text.split("## Where a change goes")[1].split("## ")[0]
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("| a")]
    assert len(rows) >= 12
    for row in rows:
        files = [
            name for name in re.findall(r"`([\w/]+\.pyi?)`", " ".join(row)) if "NAME" not in name
        ]
        assert len(files) + ("NAME.py" in row[1]) <= 2
        contents = [(ROOT / "src/convscope" / name).read_text("utf-8") for name in files]
        for registry in re.findall(r"`([A-Z_]{4,})`", " ".join(row)):
            assert any(f"{registry} = " in text or f"{registry}: " in text for text in contents)
