"""The demonstration: a public sample video as three cameras of one scene."""
