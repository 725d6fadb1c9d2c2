"""OpenFaaS' rule: while more than 5 calls a second succeed, replicas are added step by step; when it is over, they go.

It is for functions that come with OpenFaaS' scaling labels and say nothing of a type or target; there it works beside
what every function has.
"""

import math
from dataclasses import dataclass, replace

from pilotlight.core.scaling import Scaling

CALLS_PER_SECOND = 5.0
HOLDS_SECONDS = 5.0
"""The rate is above for so long before the first step."""
REPEAT_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Since when the rate is above, when the last step was made, and to how many replicas."""

    since: float
    stepped_at: float | None = None
    replicas: int = 0


def next_rule(successes: float, present: int, scaling: Scaling, rule: Rule | None, now: float) -> Rule | None:
    """From how it stood to how it stands, with so many successful calls a second; None while it does not hold."""
    if scaling.factor == 0 or successes <= CALLS_PER_SECOND:
        return None
    rule = rule or Rule(since=now)
    if now - rule.since < HOLDS_SECONDS:
        return rule
    if rule.stepped_at is not None and now - rule.stepped_at < REPEAT_SECONDS:
        return rule
    step = math.ceil(scaling.max * scaling.factor / 100)
    return replace(rule, stepped_at=now, replicas=min(scaling.max, max(present, rule.replicas) + step))
