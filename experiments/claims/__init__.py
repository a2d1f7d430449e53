"""Published claims that exact answers can settle: docs/claims.md."""
