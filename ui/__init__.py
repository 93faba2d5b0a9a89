"""The shell and the faces: command line, configuration, timer table, wall, API.

May import: everything. Only ``ui.app`` joins a port to a protocol; only ``ui.app``, ``ui.running`` and ``ui.tasks`` own a
clock, threads and the environment. Faces show what ``ui.view`` says, so that every face shows the same number.
"""
