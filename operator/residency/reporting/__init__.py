"""What people read: metrics and status."""
