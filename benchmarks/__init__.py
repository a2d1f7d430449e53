"""Speed and memory, each figure by one command."""
