"""Pictures, reports and progress."""
