"""What all that talks to PostgreSQL shares."""
