"""The account of an interval: energy, carbon, water and cost of the centre, and whose they were.

``account.book`` makes it from the store and the runs; ``tariff``, ``carbon``, ``indicators`` and ``factors`` are its arithmetic
and its tables; ``share`` divides what the meters read so that the parts sum to it.
"""
