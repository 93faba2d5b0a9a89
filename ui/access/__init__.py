"""Who may do what: people, their roles, sessions and tokens, the one table of routes, and the audit of what they changed.

May import ``twin``, what of ``ui`` knows no face, and the table of pages; faces ask it through ``ui.access.door``.
"""
