"""RCU: the plain state machines, the whole under random schedules, and that every classic fault is caught."""
