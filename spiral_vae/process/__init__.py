"""What makes the data: processes, known curves among them."""
