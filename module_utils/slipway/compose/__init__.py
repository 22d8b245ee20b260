"""The application's Compose files, our files beside them, and the containers made from both."""
