"""Fixtures of the tests that fork processes which die."""

import os

import pytest


@pytest.fixture
def unsynced(monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    """No test here cuts the power, so nothing waits for the disk. A fork has only the
    thread that forked it, so torch runs on one.
    """
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
