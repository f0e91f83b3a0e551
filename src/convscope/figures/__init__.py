"""Results to matplotlib figures. Every figure says its rule, its scale and what it cannot show.

Each module draws one kind of result by its function ``figure(found, style)``, which takes the
result, and how wide and with which caption it is drawn, and returns a sheet. It raises
:class:`~convscope.errors.OutputError` where the figure would be too large to draw.
"""
