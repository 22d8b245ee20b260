"""The report of a release: collected during a run, written at its end. Used on the controller only."""
