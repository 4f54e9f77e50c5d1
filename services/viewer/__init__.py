"""Frames and tracks in, an annotated mosaic in a window or a file; clicks out."""
