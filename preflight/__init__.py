"""What is checked and forecast before anything is built."""
