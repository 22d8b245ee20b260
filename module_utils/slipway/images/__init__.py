"""Images: built or found on the controller, brought to the hosts."""
