"""What the services agree on: messages, links, configuration, logs, health."""
