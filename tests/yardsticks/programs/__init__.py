"""The ported programs, by the name under which figures for them are published."""
