"""Learning-rate schedules that equal NeMo's."""
