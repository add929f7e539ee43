"""Attribution methods on the same evidence: which of them finds what a text depends on?"""
