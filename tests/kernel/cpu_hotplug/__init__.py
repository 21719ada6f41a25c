"""Processors that come and go."""
