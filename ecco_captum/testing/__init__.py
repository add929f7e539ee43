"""What every record and every attribution method must pass; for third parties, too.

In the manner of scikit-learn's estimator checks: each function raises ``AssertionError`` with what
is wrong, and returns nothing if all is well.

Examples::

    >>> from ecco_captum.testing import check_method, check_record
    >>> check_record(attribution)
    >>> check_method("attn_lrp", lm, generation)
"""

from ecco_captum.testing.methods import check_method, model_state
from ecco_captum.testing.records import check_record

__all__ = ["check_method", "check_record", "model_state"]
