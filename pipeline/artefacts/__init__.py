"""What passes between stages: the only room that writes."""
