"""Detection: what is odd, what will fail, which value cannot be believed; with the scorer that judges it.

``shift`` watches several columns together, ``novelty`` one by itself; ``judge`` scores either against labels and never adjusts
points. ``live`` and what it calls look at the running centre. All of it is pure: time and randomness are arguments.
"""
