"""A Markov chain on nodes: the forward-backward algorithm inside of training.

The evidence of a sequence is a sum over all paths through K nodes. Its gradient is the mean of that
of log p(x, path) under the posterior of paths (Fisher's identity), so that two passes without
derivatives and one product of matrices give what reverse-mode derivatives through the scan would.
(Baum, Petrie, Soules & Weiss 1970, https://doi.org/10.1214/aoms/1177697196.)
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

_LEAST = 1e-30  # of a sum of float32 weights that is divided by
# Of any move. One that float32 can't tell from an impossible one would leave no path to the points
# after it, and no gradient. No message is larger than 1 over this.
_RAREST = 1e-30


class Chain(NamedTuple):
    """Sequences of T points whose latents move between K nodes."""

    log_start: jax.Array  # log mass of each node, [K], of sum 1
    log_move: jax.Array  # log mass of a move from node to node, [K, K], up to a number of each row
    weight: jax.Array  # 1 for a point that is seen, 0 for others, [S T]
    length: int  # T

    def posterior(self, log_prob: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns what is known of points given the whole of their sequences; no gradients.

        Args:
          log_prob: log p(x|z) at the nodes, [K, S T].

        Returns:
          log p(x_t|x_1 .. x_t-1) in nats, [S T]; the masses of the nodes, [K, S T]; and how often
          the sequences are expected to go from node to node, [K, K].
        """
        log_prob, log_start, (_, transition) = jax.lax.stop_gradient(
            (log_prob * self.weight, self.log_start, self._transition())
        )
        largest = jnp.max(log_prob, axis=0)
        likely = self._by_time(jnp.exp(log_prob - largest))  # [T, S, K]
        start, transition = jnp.exp(log_start), jnp.maximum(transition, _RAREST)
        # Once, and not by the product of each step.
        backwards = jax.lax.optimization_barrier(transition.T)

        def forward(ahead, likely):
            joint = ahead * likely
            scale = jnp.sum(joint, axis=-1, keepdims=True) + _LEAST
            here = joint / scale
            return here @ transition, (here, scale)

        begin = jnp.broadcast_to(start, likely.shape[1:])
        _, (filtered, scale) = jax.lax.scan(forward, begin, likely)

        def backward(later, found):
            likely, scale = found
            message = later * likely / scale
            return message @ backwards, (later, message)

        _, (later, message) = jax.lax.scan(
            backward, jnp.ones_like(begin), (likely, scale), reverse=True
        )
        mass = filtered * later
        mass /= jnp.sum(mass, axis=-1, keepdims=True) + _LEAST
        moves = transition * jnp.einsum("tsk,tsl->kl", filtered[:-1], message[1:])
        log_scale = jnp.swapaxes(jnp.log(scale[..., 0]), 0, 1).reshape(-1) + largest
        return log_scale, self._by_point(mass), moves

    def log_evidence(self, log_prob: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns log p(x_t|x_1 .. x_t-1) [S T], whose sum has the gradient, and masses [K, S T].

        The mean over the points by `weight` is to be taken: the part of the gradient that goes to
        the transitions lies evenly on all of them.
        """
        value, mass, moves = self.posterior(log_prob)
        log_transition, _ = self._transition()
        own = jnp.sum(mass * log_prob, axis=0) * self.weight
        own += jnp.sum(moves * log_transition) / jnp.maximum(jnp.sum(self.weight), 1)
        return value + own - jax.lax.stop_gradient(own), mass

    def _transition(self) -> tuple[jax.Array, jax.Array]:
        """Returns the logarithm of each move and its exponential, taken once; rows of sum 1."""
        largest = jax.lax.stop_gradient(jnp.max(self.log_move, axis=1, keepdims=True))
        log_move = self.log_move - largest
        move = jnp.exp(log_move)
        total = jnp.sum(move, axis=1, keepdims=True)
        return log_move - jnp.log(total), move / total

    def _by_time(self, values: jax.Array) -> jax.Array:
        """Returns [K, S T] as [T, S, K]."""
        return values.reshape(len(values), -1, self.length).transpose(2, 1, 0)

    def _by_point(self, values: jax.Array) -> jax.Array:
        """Returns [T, S, K] as [K, S T]."""
        return values.transpose(2, 1, 0).reshape(values.shape[-1], -1)
