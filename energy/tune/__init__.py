"""Tuning of cooling plants: which supply temperatures, flows and speeds cost least over the next hours, and how surely.

A decision goes through seven hands, each a file: ``seen`` says what weather and load will probably do, from the past alone;
``learn`` keeps what the twin's physics (``hall``, ``loop``) is worth at this plant, with its uncertainty; ``moves`` what moving
adds to that; ``knobs`` says what may be reached by now (bounds, ramp, dwell); ``course`` finds the best one over the horizon;
``surely`` says how wide a promise's interval must be; ``tuner`` joins them, widens what is proven only by what was measured,
and hands back to the plant's own control when it should not be believed.

Judged on the energy of the whole facility, never on PUE (see ``energy.levers.supply_temperature``).
"""
