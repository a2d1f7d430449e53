"""The explorer: a run or a sweep as one HTML file, which evaluates and trains in the browser."""
