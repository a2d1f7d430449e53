"""What people look at: tables, figures, reference pages."""
