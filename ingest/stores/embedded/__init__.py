"""The embedded store: SQLite files in one folder, with a journal, compressed segments and rollups; see ``segments``."""
