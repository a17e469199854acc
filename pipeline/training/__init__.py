"""What changes weights: the learner, its batches, its metrics log, its alarms."""
