"""The loops one would write on paper: every op, forward and backward, from its definition, one number at a time.

This is the oracle of the tests, the first page of the notebooks and the lowest rung of the speed page; nothing else should call it, since
it is slower by orders of magnitude than the ops it checks. It shares no line with them: no im2col, no padding of arrays, no closed
formula for batch norm.

Letters: n image, h and v row and column of the input, p and q row and column of the output, i and j row and column of the
kernel, c input channel, k output channel. Images are [N, H, W, C] (NHWC), kernels [KH, KW, C, K] (HWIO), plain NumPy arrays,
float32 or float64. Sums are carried in Python's floats, which are float64, and rounded once to the dtype of the input.
Nothing is checked here: a wrong shape fails as an index does.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Pair = int | tuple[int, int]  # one number for both axes, or (rows, columns)
Padding = str | tuple[tuple[int, int], tuple[int, int]]  # "SAME", "VALID" or ((top, bottom), (left, right))


def padding_of_axis(size: int, kernel: int, stride: int, rate: int, padding: str) -> tuple[int, int]:
    """How many zeros stand before and after one axis.

    SAME is TensorFlow's: the output has ceil(size / stride) places, the last one must just fit, and where an odd number of
    zeros is needed the odd one stands after. PyTorch has no such mode for stride > 1.
    """
    if padding == "VALID":
        return 0, 0
    places = math.ceil(size / stride)
    span = (kernel - 1) * rate + 1  # how many inputs a dilated kernel stretches over
    total = max(0, (places - 1) * stride + span - size)
    return total // 2, total - total // 2


def touches(
    size: int, kernel: int, stride: int, rate: int, before: int, after: int
) -> tuple[int, list[tuple[int, int, int]]]:
    """One axis: the number of places, and every (p, i, h) where place p, tap i of the kernel, lies on the input's element h.

    h = p * stride + i * rate - before,    0 <= h < size;    what lies outside is padding.
    """
    places = (before + size + after - ((kernel - 1) * rate + 1)) // stride + 1
    triples = []
    for p in range(places):
        for i in range(kernel):
            h = p * stride + i * rate - before
            if 0 <= h < size:
                triples.append((p, i, h))
    return places, triples


def geometry(
    x: Array, kernel: tuple[int, int], stride: Pair, rate: Pair, padding: Padding
) -> tuple[tuple[int, int], list[tuple[int, int, int]], list[tuple[int, int, int]]]:
    """(OH, OW), the (p, i, h) of the rows and the (q, j, v) of the columns."""
    places, lists = [], []
    for axis in (0, 1):
        size = x.shape[1 + axis]
        s = stride if isinstance(stride, int) else stride[axis]
        r = rate if isinstance(rate, int) else rate[axis]
        before, after = (
            padding_of_axis(size, kernel[axis], s, r, padding) if isinstance(padding, str) else padding[axis]
        )
        count, triples = touches(size, kernel[axis], s, r, before, after)
        places.append(count)
        lists.append(triples)
    return (places[0], places[1]), lists[0], lists[1]


# ---- convolution -----------------------------------------------------------------------------------------------------
def conv2d_forward(x: Array, w: Array, stride: Pair = 1, rate: Pair = 1, padding: Padding = "SAME") -> Array:
    """y[n, p, q, k] = sum over i, j, c of  x[n, h, v, c] * w[i, j, c, k],   h = p*stride + i*rate - top,   v likewise.

    x [N, H, W, C], w [KH, KW, C, K] -> y [N, OH, OW, K]. A convolution of neural networks: the kernel is not flipped.
    """
    places, rows, columns = geometry(x, (w.shape[0], w.shape[1]), stride, rate, padding)
    y = np.zeros((x.shape[0], *places, w.shape[3]))  # [N, OH, OW, K]
    for n in range(x.shape[0]):
        for p, i, h in rows:
            for q, j, v in columns:
                for c in range(w.shape[2]):
                    for k in range(w.shape[3]):
                        y[n, p, q, k] += float(x[n, h, v, c]) * float(w[i, j, c, k])
    return y.astype(x.dtype)


def conv2d_backward(
    dy: Array, x: Array, w: Array, stride: Pair = 1, rate: Pair = 1, padding: Padding = "SAME"
) -> tuple[Array, Array]:
    """Each product x * w of the forward pass hands its gradient to its two factors:

        dx[n, h, v, c] += dy[n, p, q, k] * w[i, j, c, k]
        dw[i, j, c, k] += dy[n, p, q, k] * x[n, h, v, c]

    dy [N, OH, OW, K] -> dx [N, H, W, C], dw [KH, KW, C, K]. The loops are the forward's.
    """
    _, rows, columns = geometry(x, (w.shape[0], w.shape[1]), stride, rate, padding)
    dx = np.zeros(x.shape)  # [N, H, W, C]
    dw = np.zeros(w.shape)  # [KH, KW, C, K]
    for n in range(x.shape[0]):
        for p, i, h in rows:
            for q, j, v in columns:
                for c in range(w.shape[2]):
                    for k in range(w.shape[3]):
                        d = float(dy[n, p, q, k])
                        dx[n, h, v, c] += d * float(w[i, j, c, k])
                        dw[i, j, c, k] += d * float(x[n, h, v, c])
    return dx.astype(x.dtype), dw.astype(w.dtype)


# ---- bias ------------------------------------------------------------------------------------------------------------
def bias_add_forward(x: Array, b: Array) -> Array:
    """y[..., c] = x[..., c] + b[c].   x [..., C], b [C] -> y [..., C]."""
    y = np.zeros(x.shape, x.dtype)
    for index in np.ndindex(*x.shape):
        y[index] = x[index] + b[index[-1]]
    return y


def bias_add_backward(dy: Array) -> tuple[Array, Array]:
    """dx = dy,   db[c] = sum of dy[..., c]: one bias touches every pixel, so it hears from every pixel."""
    db = np.zeros(dy.shape[-1])
    for index in np.ndindex(*dy.shape):
        db[index[-1]] += float(dy[index])
    return dy.copy(), db.astype(dy.dtype)


# ---- batch normalisation ---------------------------------------------------------------------------------------------
def batch_norm_forward(x: Array, gamma: Array, beta: Array, epsilon: float = 1e-5) -> tuple[Array, Array, Array]:
    """Training mode, for each channel c over its M = N*H*W values x_m:

        mean = 1/M sum x_m,   var = 1/M sum (x_m - mean)^2,   y_m = gamma * (x_m - mean) / sqrt(var + epsilon) + beta

    x [..., C], gamma and beta [C] -> y [..., C], mean [C], var [C] (biased). Ioffe and Szegedy 2015, algorithm 1.
    """
    values = x.reshape(-1, x.shape[-1]).astype(np.float64)  # [M, C]
    m_count, c_count = values.shape
    y, mean, var = np.zeros(values.shape), np.zeros(c_count), np.zeros(c_count)
    for c in range(c_count):
        for m in range(m_count):
            mean[c] += values[m, c] / m_count
        for m in range(m_count):
            var[c] += (values[m, c] - mean[c]) ** 2 / m_count
        for m in range(m_count):
            y[m, c] = float(gamma[c]) * (values[m, c] - mean[c]) / math.sqrt(var[c] + epsilon) + float(beta[c])
    return y.reshape(x.shape).astype(x.dtype), mean.astype(x.dtype), var.astype(x.dtype)


def batch_norm_backward(dy: Array, x: Array, gamma: Array, epsilon: float = 1e-5) -> tuple[Array, Array, Array]:
    """The forward pass as a graph of small steps, then the same steps upside down; d<name> is the gradient at <name>.

    dy [..., C], x [..., C] -> dx [..., C], dgamma [C], dbeta [C].
    """
    values = x.reshape(-1, x.shape[-1]).astype(np.float64)  # [M, C]
    upstream = dy.reshape(values.shape).astype(np.float64)  # [M, C]
    dx, dgamma, dbeta = np.zeros(values.shape), np.zeros(gamma.shape), np.zeros(gamma.shape)
    for c in range(values.shape[1]):
        dx[:, c], dgamma[c], dbeta[c] = batch_norm_backward_of_channel(
            upstream[:, c], values[:, c], float(gamma[c]), epsilon
        )
    return dx.reshape(x.shape).astype(x.dtype), dgamma.astype(gamma.dtype), dbeta.astype(gamma.dtype)


def batch_norm_backward_of_channel(dy: Array, x: Array, gamma: float, epsilon: float) -> tuple[Array, float, float]:
    """One channel: dy [M], x [M] -> dx [M], dgamma, dbeta. Read the comments downwards, the code of step k undoes step k."""
    m_count = len(x)
    if m_count == 0:
        return x.copy(), 0.0, 0.0
    mean = sum(x) / m_count  # 1  mean = 1/M sum x_m
    centred = [x[m] - mean for m in range(m_count)]  # 2  centred_m = x_m - mean
    square = [centred[m] ** 2 for m in range(m_count)]  # 3  square_m = centred_m ^ 2
    var = sum(square) / m_count  # 4  var = 1/M sum square_m
    std = math.sqrt(var + epsilon)  # 5  std = sqrt(var + epsilon)
    inverse = 1 / std  # 6  inverse = 1 / std
    xhat = [centred[m] * inverse for m in range(m_count)]  # 7  xhat_m = centred_m * inverse
    #                                                          8  y_m = gamma * xhat_m + beta

    dbeta = sum(dy)  # 8
    dgamma = sum(dy[m] * xhat[m] for m in range(m_count))  # 8
    dxhat = [gamma * dy[m] for m in range(m_count)]  # 8
    dinverse = sum(dxhat[m] * centred[m] for m in range(m_count))  # 7: every m uses it
    dcentred = [dxhat[m] * inverse for m in range(m_count)]  # 7
    dstd = dinverse * -1 / std**2  # 6
    dvar = dstd / (2 * std)  # 5
    dsquare = [dvar / m_count for _ in range(m_count)]  # 4
    dcentred = [dcentred[m] + dsquare[m] * 2 * centred[m] for m in range(m_count)]  # 3: its second use
    dmean = sum(-dcentred[m] for m in range(m_count))  # 2: every m uses it
    dx = [dcentred[m] for m in range(m_count)]  # 2
    dx = [dx[m] + dmean / m_count for m in range(m_count)]  # 1: the second use of x_m
    return np.array(dx), float(dgamma), float(dbeta)


def batch_norm_inference_forward(
    x: Array, gamma: Array, beta: Array, moving_mean: Array, moving_variance: Array, epsilon: float = 1e-5
) -> Array:
    """y[..., c] = gamma[c] * (x[..., c] - moving_mean[c]) / sqrt(moving_variance[c] + epsilon) + beta[c].

    The statistics are constants here: no image sees another one.
    """
    y = np.zeros(x.shape, x.dtype)
    for index in np.ndindex(*x.shape):
        c = index[-1]
        xhat = (float(x[index]) - float(moving_mean[c])) / math.sqrt(float(moving_variance[c]) + epsilon)
        y[index] = float(gamma[c]) * xhat + float(beta[c])
    return y


def batch_norm_inference_backward(
    dy: Array, x: Array, gamma: Array, moving_mean: Array, moving_variance: Array, epsilon: float = 1e-5
) -> tuple[Array, Array, Array]:
    """dx = dy * gamma / std,   dgamma[c] = sum dy * xhat,   dbeta[c] = sum dy.   dy [..., C] -> [..., C], [C], [C]."""
    dx, dgamma, dbeta = np.zeros(x.shape, x.dtype), np.zeros(gamma.shape), np.zeros(gamma.shape)
    for index in np.ndindex(*x.shape):
        c = index[-1]
        std = math.sqrt(float(moving_variance[c]) + epsilon)
        dx[index] = float(dy[index]) * float(gamma[c]) / std
        dgamma[c] += float(dy[index]) * (float(x[index]) - float(moving_mean[c])) / std
        dbeta[c] += float(dy[index])
    return dx, dgamma.astype(gamma.dtype), dbeta.astype(gamma.dtype)


# ---- relu ------------------------------------------------------------------------------------------------------------
def relu_forward(x: Array) -> Array:
    """y = x where x > 0, else 0.   Any shape."""
    y = np.zeros(x.shape, x.dtype)
    for index in np.ndindex(*x.shape):
        if x[index] > 0:
            y[index] = x[index]
    return y


def relu_backward(dy: Array, x: Array) -> Array:
    """dx = dy where x > 0, else 0; at x = 0 exactly, where there is no derivative, 0 as everybody does."""
    dx = np.zeros(x.shape, dy.dtype)
    for index in np.ndindex(*x.shape):
        if x[index] > 0:
            dx[index] = dy[index]
    return dx


# ---- pooling ---------------------------------------------------------------------------------------------------------
def winners(
    x: Array, n: int, c: int, kernel_size: Pair, stride: Pair, padding: Padding
) -> tuple[tuple[int, int], dict[tuple[int, int], tuple[int, int]]]:
    """Image n, channel c: (OH, OW), and for each window (p, q) the pixel (h, v) of its first maximum in row order."""
    kernel = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    places, rows, columns = geometry(x, kernel, stride, 1, padding)
    best: dict[tuple[int, int], tuple[int, int]] = {}
    for p, _, h in rows:
        for q, _, v in columns:
            if (p, q) not in best or x[n, h, v, c] > x[(n, *best[p, q], c)]:  # > and not >=: the first one stays
                best[p, q] = (h, v)
    return places, best


def max_pool2d_forward(x: Array, kernel_size: Pair, stride: Pair = 2, padding: Padding = "VALID") -> Array:
    """y[n, p, q, c] = the largest x[n, h, v, c] in window (p, q); padding never wins: it counts as minus infinity.

    x [N, H, W, C] -> y [N, OH, OW, C].
    """
    kernel = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    places, _, _ = geometry(x, kernel, stride, 1, padding)
    y = np.full((x.shape[0], *places, x.shape[3]), -np.inf, x.dtype)
    for n in range(x.shape[0]):
        for c in range(x.shape[3]):
            _, best = winners(x, n, c, kernel_size, stride, padding)
            for (p, q), (h, v) in best.items():
                y[n, p, q, c] = x[n, h, v, c]
    return y


def max_pool2d_backward(dy: Array, x: Array, kernel_size: Pair, stride: Pair = 2, padding: Padding = "VALID") -> Array:
    """dx[n, h, v, c] = the sum of dy over the windows that (h, v) won; on a tie the first maximum in row order takes all.

    dy [N, OH, OW, C] -> dx [N, H, W, C].
    """
    dx = np.zeros(x.shape)
    for n in range(x.shape[0]):
        for c in range(x.shape[3]):
            _, best = winners(x, n, c, kernel_size, stride, padding)
            for (p, q), (h, v) in best.items():
                dx[n, h, v, c] += float(dy[n, p, q, c])
    return dx.astype(dy.dtype)


def subsample_forward(x: Array, factor: int) -> Array:
    """y[n, p, q, c] = x[n, p*factor, q*factor, c].   x [N, H, W, C] -> y [N, ceil(H/factor), ceil(W/factor), C]."""
    y = np.zeros((x.shape[0], math.ceil(x.shape[1] / factor), math.ceil(x.shape[2] / factor), x.shape[3]), x.dtype)
    for n, p, q, c in np.ndindex(*y.shape):
        y[n, p, q, c] = x[n, p * factor, q * factor, c]
    return y


def subsample_backward(dy: Array, x: Array, factor: int) -> Array:
    """dx[n, p*factor, q*factor, c] = dy[n, p, q, c]; the pixels that were skipped hear nothing."""
    dx = np.zeros(x.shape, dy.dtype)
    for n, p, q, c in np.ndindex(*dy.shape):
        dx[n, p * factor, q * factor, c] = dy[n, p, q, c]
    return dx


def global_avg_pool_forward(x: Array) -> Array:
    """y[n, 0, 0, c] = 1/(H*W) sum over h, v of x[n, h, v, c].   x [N, H, W, C] -> y [N, 1, 1, C]."""
    y = np.zeros((x.shape[0], 1, 1, x.shape[3]))
    for n, h, v, c in np.ndindex(*x.shape):
        y[n, 0, 0, c] += float(x[n, h, v, c]) / (x.shape[1] * x.shape[2])
    return y.astype(x.dtype)


def global_avg_pool_backward(dy: Array, x: Array) -> Array:
    """dx[n, h, v, c] = dy[n, 0, 0, c] / (H*W): every pixel gets the same share.   dy [N, 1, 1, C] -> dx [N, H, W, C]."""
    dx = np.zeros(x.shape, dy.dtype)
    for n, h, v, c in np.ndindex(*x.shape):
        dx[n, h, v, c] = float(dy[n, 0, 0, c]) / (x.shape[1] * x.shape[2])
    return dx


def neighbours(places: int, size: int) -> list[tuple[int, int, float]]:
    """One axis of a bilinear resize, corners on corners: every (p, h, share), place p takes this share of element h.

    Place p lies at p * (size - 1) / (places - 1), a single place at 0; its two neighbours share by their nearness to it.
    """
    triples = []
    for p in range(places):
        position = p * (size - 1) / (places - 1) if places > 1 else 0.0
        for h in range(size):
            if abs(h - position) < 1:
                triples.append((p, h, 1 - abs(h - position)))
    return triples


def resize_bilinear_forward(x: Array, size: tuple[int, int]) -> Array:
    """y[n, p, q, c] = sum over h, v of  share(p, h) * share(q, v) * x[n, h, v, c].   x [N, H, W, C] -> y [N, *size, C]."""
    y = np.zeros((x.shape[0], *size, x.shape[3]))
    for n, c in np.ndindex(x.shape[0], x.shape[3]):
        for p, h, of_row in neighbours(size[0], x.shape[1]):
            for q, v, of_column in neighbours(size[1], x.shape[2]):
                y[n, p, q, c] += of_row * of_column * float(x[n, h, v, c])
    return y.astype(x.dtype)


def resize_bilinear_backward(dy: Array, x: Array, size: tuple[int, int]) -> Array:
    """dx[n, h, v, c] += share(p, h) * share(q, v) * dy[n, p, q, c]: the forward's loops, read the other way."""
    dx = np.zeros(x.shape)
    for n, c in np.ndindex(x.shape[0], x.shape[3]):
        for p, h, of_row in neighbours(size[0], x.shape[1]):
            for q, v, of_column in neighbours(size[1], x.shape[2]):
                dx[n, h, v, c] += of_row * of_column * float(dy[n, p, q, c])
    return dx.astype(dy.dtype)


# ---- the loss --------------------------------------------------------------------------------------------------------
def target(k: int, label: int, classes: int, label_smoothing: float) -> float:
    """t_k: 1 for the right class and 0 elsewhere, then smoothed: (1 - s) * that + s / K."""
    return (1 - label_smoothing) * (1.0 if k == label else 0.0) + label_smoothing / classes


def softmax_of_row(logits: Array) -> list[float]:
    """p_k = exp(z_k) / sum exp(z_k), with the largest z taken off first, so that no exp overflows.   [K] -> K floats."""
    z = [float(v) for v in logits]
    exponentials = [math.exp(v - max(z)) for v in z]
    return [e / math.fsum(exponentials) for e in exponentials]


def softmax_cross_entropy_forward(logits: Array, labels: Array, label_smoothing: float = 0.0) -> Array:
    """loss = mean over the rows of  - sum_k t_k log p_k,   log p_k = z_k - log sum exp(z).

    logits [..., K], labels integers [...] in 0..K-1 -> loss, 0-d.
    """
    classes = logits.shape[-1]
    rows, answers = logits.reshape(-1, classes), labels.reshape(-1)
    loss = 0.0
    for row, label in zip(rows, answers, strict=True):
        z = [float(v) for v in row]
        log_sum = max(z) + math.log(math.fsum(math.exp(v - max(z)) for v in z))
        for k in range(classes):
            loss += target(k, int(label), classes, label_smoothing) * (log_sum - z[k]) / len(rows)
    return np.array(loss, logits.dtype)


def softmax_cross_entropy_backward(
    dy: float | Array, logits: Array, labels: Array, label_smoothing: float = 0.0
) -> Array:
    """dlogits = dy * (p_k - t_k) / rows.   dy scalar -> dlogits [..., K]."""
    classes = logits.shape[-1]
    rows, answers = logits.reshape(-1, classes), labels.reshape(-1)
    dlogits = np.zeros(rows.shape, logits.dtype)
    for m in range(len(rows)):
        p = softmax_of_row(rows[m])
        for k in range(classes):
            dlogits[m, k] = float(dy) * (p[k] - target(k, int(answers[m]), classes, label_smoothing)) / len(rows)
    return dlogits.reshape(logits.shape)
