"""How good rankings are: agreement, reliability and bias, from plain rows: ``figures.figures_of``.

Pure: no Django, no database. ``figures`` loads scipy and crowd-kit, so only a worker imports it,
and only when there is something to compute; ``rows`` loads nothing.
"""
