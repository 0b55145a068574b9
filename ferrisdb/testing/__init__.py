"""Public test tools: a file system that crashes on purpose."""
