"""The centre as a picture: where everything stands, what it is coloured by, and how both travel to a browser or into a file.

``layout`` and ``routes`` turn a site into ``Geometry`` (boxes, pipes, cables) once; ``paint`` turns values into a byte a box
each second; ``wire`` packs both; ``mesh`` draws and exports them with pyvista.
"""
