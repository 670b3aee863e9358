"""English words that say nothing of what a text is about."""

from __future__ import annotations

_LISTED = """
    a about above after again against all am an and any are as at be because been before being
    below between both but by can could d did do does doing don down during each few for from
    further had has have having he her here hers him his how i if in into is it its itself just
    let ll m may me might mine more most must my myself no nor not now o of off on once only or
    other our ours ourselves out over own re s same shall she should so some such t than that the
    their theirs them themselves then there these they this those through to too under until up
    ve very was we were what when where which while who whom whose why will with won would y you
    your yours yourself yourselves
"""

STOP_WORDS = frozenset(_LISTED.split())
"""Lower case; parts that an apostrophe leaves (`don`, `t`, `ll`) are among them."""
