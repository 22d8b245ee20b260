"""Our small modules, run on a host without AnsiballZ."""
