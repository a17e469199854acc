"""Training: the learner, its batches, its metrics log, its alarms."""
