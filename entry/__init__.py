"""What an entry script does: command line, settings, folder, run."""
