"""Sanitizers: what watches a run and says what is wrong, in the words a kernel developer knows."""
