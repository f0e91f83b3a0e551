"""Letters of every figure can be read at every width, and printed."""

import shutil

import pytest

import letters
from convscope.figures.style import WIDTHS

ROUNDING = 1e-3


LONG = ("Comparison", "Diagnosis", "Evolution", "Invariance", "Occlusions", "Sanity", "Study")
"""Figures that take long to find what they show."""


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.slow if name in LONG else ())
        for name in letters.drawn()
    ],
)
def files(request, tmp_path_factory):
    """A figure at every width: its files, by the widths' names."""
    result, folder = letters.RESULTS[request.param](), tmp_path_factory.mktemp("letters")
    files = {width: folder / f"{width}.pdf" for width in WIDTHS}
    for width, file in files.items():
        result.save(file, width=width, caption="full")
    return files


@pytest.mark.parametrize("width", WIDTHS)
def test_no_letter_is_under_seven_points(files, width):
    smallest, inches = letters.letters(files[width])
    assert smallest >= letters.SMALLEST - ROUNDING
    assert inches == pytest.approx(WIDTHS[width])


@pytest.mark.skipif(not shutil.which("pdffonts"), reason="needs poppler-utils, for pdffonts")
def test_no_font_is_of_type_3(files):
    assert letters.kinds_of_fonts(files["text"]) == {"CID TrueType"}


def test_letters_are_measured_as_they_are_printed(tmp_path):
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2, 1))
    figure.text(0.1, 0.1, "upright (8) q", size=8)
    figure.text(0.9, 0.1, "turned", size=6.5, rotation=90)
    for kind, named in ((42, "CID TrueType"), (3, "Type 3")):
        with rc_context({"pdf.fonttype": kind}):
            figure.savefig(tmp_path / "it.pdf")
        assert letters.letters(tmp_path / "it.pdf") == pytest.approx((6.5, 2.0))
        if shutil.which("pdffonts"):
            assert letters.kinds_of_fonts(tmp_path / "it.pdf") == {named}
