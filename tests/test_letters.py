"""Letters of every figure can be read at every width, and printed."""

import shutil

import pytest

import letters
from convscope.figures.style import WIDTHS
from products import some

ROUNDING = 1e-3


LONG = ("Comparison", "Diagnosis", "Evolution", "Invariance", "Occlusions", "Sanity", "Study")
"""Figures that take long to find what they show."""


@pytest.fixture(scope="module", params=some({*letters.drawn()} - {*LONG}, letters.drawn()))
def result(request):
    return letters.RESULTS[request.param]()


@pytest.mark.parametrize("width", some(["column"], WIDTHS))
def test_every_letter_can_be_read_and_printed(result, width, tmp_path):
    result.save(tmp_path / "it.pdf", width=width, caption="full")
    assert result.plot(width=width).dpi >= 220  # sharp in a .png too
    smallest, inches = letters.letters(tmp_path / "it.pdf")
    assert smallest >= letters.SMALLEST - ROUNDING
    assert inches == pytest.approx(WIDTHS[width])
    if shutil.which("pdffonts"):  # of poppler-utils
        assert letters.kinds_of_fonts(tmp_path / "it.pdf") == {"CID TrueType"}


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
