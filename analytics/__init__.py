"""What the values mean: rules and alerts, forecasts, findings.

May import: ``twin``. Pure functions of state and series; reads through the ports of ``twin.ports`` and never sees ``ingest``.
"""
