"""The sources: one module a protocol. What such a module must have, ``ingest.registry`` says."""
