"""What to do: plans that change power, cooling and the start of jobs, and the proof of what they did.

May import: ``analytics`` and ``twin``. Pure decisions: no protocol, no socket; actions leave through the ports.
"""
