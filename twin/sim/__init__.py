"""The offline twin: a whole centre over any horizon, in columns over time and in bounded memory.

``fleet`` and ``circuit`` read the site's graph once into arrays; ``schedule`` says which job runs where and ``workload`` what
that draws; ``network`` solves pressures, ``thermal`` steps the water, ``chain`` sums the power. ``twin.simulate`` joins them.
"""
