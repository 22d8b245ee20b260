"""What a system is, whatever is done with it: services, colours, ports, environment."""
