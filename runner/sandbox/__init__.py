"""Where commands run: a host process that starts them, behind the walls of a backend or without any."""
