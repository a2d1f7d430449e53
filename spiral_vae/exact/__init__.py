"""The exact answers, by quadrature, and the metrics that follow from them."""
