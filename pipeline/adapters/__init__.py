"""One third-party effect each."""
