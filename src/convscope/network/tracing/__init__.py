"""From a module to a graph: what it is given, one trace by torch.export, and its reading.

``export`` traces, ``trace`` reads the program node by node: by ``lowering`` into operations of the
table, ``naming`` them, with what takes the place of ``randomness``; ``rectifiers`` are then found
where they are written otherwise. ``inputs`` knows what a module takes, ``advice`` why it fails.
"""
