"""Training as a pure function of arrays, and lanes on devices."""
