"""What must survive: functions, their revisions, and which one is live. Replicas are not stored."""
