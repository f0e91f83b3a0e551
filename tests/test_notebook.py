"""The page to start from runs: each cell ends in a picture, and no answer floods the page."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

START = Path(__file__).parents[1] / "examples/start.ipynb"
SHOWN = ("cs.project", "cs.occlude", "cs.scan", "cs.diagnose", "cs.compare")


@pytest.fixture
def written():
    return nbformat.read(START, nbformat.NO_CONVERT)


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """The notebook's cells once all have run."""
    notebook = nbformat.read(START, nbformat.NO_CONVERT)
    where = {"metadata": {"path": str(tmp_path_factory.mktemp("notebook"))}}
    return NotebookClient(notebook, timeout=120, resources=where).execute().cells


def test_outputs_are_not_committed(written):
    assert not any(cell.get("outputs") for cell in written.cells)


@pytest.mark.slow
def test_each_call_shows_a_picture(cells):
    shown = []
    for cell in cells:
        last = cell.source.splitlines()[-1]
        if cell.cell_type == "code" and (call := re.match(r"cs\.\w+", last)):
            assert [output.output_type for output in cell.outputs] == ["execute_result"], last
            assert "image/png" in cell.outputs[0].data, last
            shown.append(call.group())
    assert tuple(shown) == SHOWN


@pytest.mark.slow
def test_no_answer_floods_the_page(cells):
    texts = [
        output.data["text/plain"]
        for cell in cells
        for output in cell.get("outputs", ())
        if "data" in output
    ]
    assert len(texts) > len(SHOWN)
    assert max(map(len, texts)) < 1000


def test_the_first_picture_takes_ten_lines_beside_the_network(written):
    lines = 0
    for cell in written.cells[3:]:
        lines += len([*filter(str.strip, cell.source.splitlines())]) * (cell.cell_type == "code")
        if "cs.project" in cell.source:
            break
    assert lines <= 10


def test_its_links_lead_somewhere(written):
    for cell in written.cells:
        for link in re.findall(r"\]\(([^)#]+)\)", cell.source):
            assert (START.parent / link).exists(), link
