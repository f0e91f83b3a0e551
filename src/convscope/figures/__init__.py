"""Records to matplotlib figures. Every figure says its rule, its scale and what it cannot show."""
