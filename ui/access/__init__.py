"""Who may do what: people, their roles, sessions and tokens, the one table of routes, and the audit of what they changed.

May import ``twin`` and what of ``ui`` knows no face; faces ask it through ``ui.access.door``.
"""
