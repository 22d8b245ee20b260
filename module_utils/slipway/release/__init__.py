"""The records of releases, the lock, and what a run is going to do."""
