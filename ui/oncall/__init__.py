"""The shell of being on call: the on-call file, what is kept over a restart, delivery, and the one service that joins them.

Decisions are ``analytics.oncall``'s and forms are ``ui.faces.notify``'s; here are the clock, the file and the tasks.
"""
