"""The field, both ways: reads what a centre measures, keeps it, and carries actions out.

May import: ``twin``. No socket is opened elsewhere but by the faces. An adapter (``sources``, ``queues``, ``stores``)
holds no logic but names, units and signs: what a value means is for others.
"""
