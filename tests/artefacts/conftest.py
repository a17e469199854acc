"""For the tests that fork processes which die."""

import os

import pytest


@pytest.fixture
def unsynced(monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    """Nothing waits for the disk, as no test here cuts the power; and one thread, as a
    fork has but the one that forked.
    """
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
