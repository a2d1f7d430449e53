"""What is trained: networks, and the kinds of posterior, likelihood and objective."""
