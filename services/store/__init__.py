"""Tracks in, SQLite on disk; history, statistics and last-known places out."""
