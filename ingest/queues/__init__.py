"""Job schedulers, one module each: jobs out, actions in. Each answers the ``Queue`` port and nothing more."""
