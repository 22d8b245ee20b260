"""The application's Compose files, the files of ours beside them, and the containers made from both."""
