"""Ordered, versioned bytes on disk: a log-structured merge tree. Knows nothing above itself."""
