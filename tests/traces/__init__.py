"""Tests of the traces room."""
