"""The words and the physics of a centre: everything else in icctwin speaks this vocabulary.

May import: nothing of icctwin. It opens no socket or file but the site's own tables, owns no clock and no
randomness, so that the same code serves live, in replay and in "what if".
"""
