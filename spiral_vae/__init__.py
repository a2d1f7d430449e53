"""Variational autoencoders on noisy spirals, checked against the exact answer by quadrature."""
