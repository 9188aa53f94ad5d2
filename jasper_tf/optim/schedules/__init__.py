"""Learning rate schedules with NeMo's numbers."""
