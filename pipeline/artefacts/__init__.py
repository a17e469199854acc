"""What passes between stages: sealed folders with typed contents, locks, provenance."""
