"""A camera or file in, JPEG frames with time and motion out: one process a camera."""
