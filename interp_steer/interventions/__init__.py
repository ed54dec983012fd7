"""Say what acts where and when, and turn it into hooks."""
