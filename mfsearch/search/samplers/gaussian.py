"""A Gaussian process in numpy: Matern 5/2 with a length per column and noise, fitted by the posterior's mode."""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FIT_STEPS = 30
SQRT5 = math.sqrt(5.0)

# Priors on logarithms, as mean and standard deviation, for values of unit spread. Lengths grow with the square root of
# the number of columns (arXiv:2402.02229); the noise is a tenth to all of the spread.
LENGTH_PRIOR = (0.0, 1.0)  # of length / sqrt(columns)
AMPLITUDE_PRIOR = (0.0, 1.0)
NOISE_PRIOR = (math.log(0.2), 1.0)


def matern(r2: Array) -> Array:
    """Matern 5/2 kernel of squared scaled distances; 1 at distance 0."""
    r = SQRT5 * np.sqrt(r2)
    result: Array = (1.0 + r + r * r / 3.0) * np.exp(-r)
    return result


class GaussianProcess:
    """A process fitted to rows `x` [N, D] and values `y` [N]; predicts mean and spread of the value without noise."""

    def __init__(self, x: Array, y: Array, *, theta: Array | None = None) -> None:
        """theta: log lengths [D], log amplitude, log noise variance (of y scaled to unit spread); fitted if None.

        loss: of the fit, negative log likelihood with the priors'; infinite if `theta` was given.
        """
        self.x, self.loss = x, math.inf
        self.mean, self.scale = float(y.mean()), float(y.std()) or 1.0
        self.z = (y - self.mean) / self.scale
        self.theta = self._fit() if theta is None else theta
        d = x.shape[1]
        self.inverse_lengths = np.exp(-self.theta[:d])
        self.amplitude, self.noise = math.exp(self.theta[d]), math.exp(self.theta[d + 1])
        self.inverse = np.linalg.inv(self._kernel(x, x) + self.noise * np.eye(len(x)))
        self.weights = self.inverse @ self.z

    def _kernel(self, a: Array, b: Array) -> Array:
        a, b = a * self.inverse_lengths, b * self.inverse_lengths
        r2 = (a * a).sum(1)[:, None] + (b * b).sum(1)[None, :] - 2.0 * a @ b.T
        return self.amplitude * matern(np.maximum(r2, 0.0))

    def predict(self, x: Array) -> tuple[Array, Array]:
        """Mean [M] and standard deviation [M] of the value without noise at each row."""
        k = self._kernel(x, self.x)
        variance = self.amplitude - np.einsum("mn,nk,mk->m", k, self.inverse, k, optimize=True)
        return self.mean + self.scale * (k @ self.weights), self.scale * np.sqrt(np.maximum(variance, 1e-12))

    def _fit(self) -> Array:
        """The mode of the posterior by Rprop, which uses only the signs of gradients and needs no step size."""
        n, d = self.x.shape
        rows, columns = np.triu_indices(n, 1)
        pairs = (self.x[rows] - self.x[columns]) ** 2  # [P, D]
        length_mean = LENGTH_PRIOR[0] + 0.5 * math.log(d)
        means = np.array([length_mean] * d + [AMPLITUDE_PRIOR[0], NOISE_PRIOR[0]])
        spreads = np.array([LENGTH_PRIOR[1]] * d + [AMPLITUDE_PRIOR[1], NOISE_PRIOR[1]])
        theta, step, last = means.copy(), np.full(d + 2, 0.2), np.zeros(d + 2)
        best, best_loss = theta, math.inf
        for _ in range(FIT_STEPS):
            loss, slope = _loss(theta, pairs, rows, columns, self.z)
            loss += float((((theta - means) / spreads) ** 2).sum()) / 2
            slope += (theta - means) / spreads**2
            if loss < best_loss:
                best, best_loss = theta, loss
            agreed = np.sign(slope) * last
            step = np.clip(np.where(agreed > 0, step * 1.2, np.where(agreed < 0, step * 0.5, step)), 1e-3, 1.0)
            last = np.where(agreed < 0, 0.0, np.sign(slope))
            theta = np.clip(theta - last * step, -9.0, 9.0)
        self.loss = best_loss
        return best


def _loss(
    theta: Array, pairs: Array, rows: NDArray[np.intp], columns: NDArray[np.intp], z: Array
) -> tuple[float, Array]:
    """Negative log marginal likelihood (up to a constant) and its slope in theta."""
    n, d = len(z), pairs.shape[1]
    squares = np.exp(-2.0 * theta[:d])
    amplitude, noise = math.exp(theta[d]), math.exp(theta[d + 1])
    r = SQRT5 * np.sqrt(pairs @ squares)
    decay = np.exp(-r)
    values = amplitude * (1.0 + r + r * r / 3.0) * decay
    kernel = np.empty((n, n))
    kernel[rows, columns] = kernel[columns, rows] = values
    kernel[np.diag_indices(n)] = amplitude + noise
    inverse = np.linalg.inv(kernel)
    weights = inverse @ z
    _, logdet = np.linalg.slogdet(kernel)
    outer = inverse - np.outer(weights, weights)  # twice the slope for each entry of the kernel
    above = outer[rows, columns]
    # d matern / d r2 = -5/6 (1 + r) exp(-r) with r = sqrt(5 r2), and r2 falls by 2 w D for a longer length
    lengths = (above * (amplitude * 5.0 / 3.0) * (1.0 + r) * decay) @ pairs * squares
    slope = np.empty(d + 2)
    slope[:d] = lengths
    slope[d] = above @ values + 0.5 * amplitude * np.trace(outer)
    slope[d + 1] = 0.5 * noise * np.trace(outer)
    return 0.5 * float(z @ weights + logdet), slope
