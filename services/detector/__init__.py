"""Frames in, people out: boxes and feature vectors, batched over all cameras."""
