"""What equipment does, one kind a file: pure functions of numbers or arrays, SI units in every name, no state.

Every function takes floats or float64 arrays that broadcast and gives float64 of the broadcast shape; NaN in gives NaN
out. Parameters come from ``twin.params``; nothing here knows a site. To add equipment: one file here and a published
worked example for each of its functions in ``tests/test_physics.py``, which walks this folder.
"""

from twin.frame import Floats

Numbers = Floats | float
