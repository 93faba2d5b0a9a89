"""Digging: what there is to know of one asset, any series in any grouping, and finding things by name.

May import ``twin``, ``analytics`` and what of ``ui`` knows no face; faces turn it into pages and answers.
"""
