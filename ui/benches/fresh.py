"""Processes that benches end as they like, forks of one that has nothing but their modules.

A fork of this very process would have what libraries hold here: a channel of gRPC that is let go of in a fork never ends.
"""

import multiprocessing
from collections.abc import Sequence
from multiprocessing.context import ForkServerContext


def fresh(modules: Sequence[str]) -> ForkServerContext:
    """What makes such processes, with ``modules`` loaded, unless one was made already."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(list(modules))
    return found
