"""Grids that strides leave in projections: what the arithmetic says, and what pictures show."""
