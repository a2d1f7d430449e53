"""From the command line and files to checked lanes and groups."""
