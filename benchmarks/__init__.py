"""What the speed tables are made with."""
