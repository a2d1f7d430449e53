"""Questions asked of the library: a module each, with its claim and its command."""
