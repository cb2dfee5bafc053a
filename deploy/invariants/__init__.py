"""What must always be true of a live installation, looked at while it works: ``python -m deploy.invariants``.

The promises stand in ``docs/explanation/guarantees.md``; here each is a function over one *look* at everything: the
rows of every schema, every fact ever told, every object. Work goes on meanwhile, so a look may catch a thing half-way:
what is amiss counts only if it is still amiss, in the same words, in every look for some seconds.

    looking.py    the one place that reads: database, streams
    stored.py     objects against the rows that vouch for them
    jobs.py       ends, proofs, notices, money
    runs.py       leases, fences, steps
    telling.py    sequences, outboxes, dead letters
    checking.py   the table of invariants, and the verdict
"""

from deploy.invariants.checking import INVARIANTS, Finding, check
from deploy.invariants.looking import Installation

__all__ = ["INVARIANTS", "Finding", "Installation", "check"]
