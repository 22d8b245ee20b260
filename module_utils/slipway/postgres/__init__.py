"""What everything that talks to PostgreSQL shares."""
