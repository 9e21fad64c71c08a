"""Recurrent networks in NumPy alone, float64: forward, and back-propagation through time worked out by hand.

It shares no code with the models that it checks. Every layer is
``forward(x[time, batch, in], state) -> (y, state, tape)`` and
``backward(dy, tape) -> (dx, gradients, d first state)``; parameters and gradients are dictionaries
with torch's names less the layer's suffix. ``mask`` drops units of the recurrent connection.
"""

from __future__ import annotations

import numpy as np

Arrays = dict[str, np.ndarray]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


FUNCTIONS = {
    "tanh": (np.tanh, lambda y: 1 - y**2),
    "relu": (lambda x: np.maximum(x, 0), lambda y: (y > 0).astype(float)),
    "sigmoid": (sigmoid, lambda y: y * (1 - y)),
}
"""Function, and its derivative told from its value."""


def zeros_like(p: Arrays) -> Arrays:
    return {name: np.zeros_like(value) for name, value in p.items()}


class Elman:
    """h_t = f(W x_t + b + R (m h_{t-1}) + c)."""

    def __init__(self, p: Arrays, activation: str = "tanh", mask: np.ndarray | float = 1.0) -> None:
        self.p, self.mask = p, mask
        self.f, self.df = FUNCTIONS[activation]

    def forward(self, x, state):
        p, (h,), tape, ys = self.p, state, [], []
        for step in x:
            before = h
            h = self.f(step @ p["weight_ih"].T + p["bias_ih"] + (before * self.mask) @ p["weight_hh"].T + p["bias_hh"])
            tape.append((step, before, h))
            ys.append(h)
        return np.stack(ys), (h,), tape

    def backward(self, dy, tape):
        p, g = self.p, zeros_like(self.p)
        dx, dh = [], np.zeros_like(dy[0])
        for out, (step, before, h) in zip(dy[::-1], tape[::-1], strict=True):
            da = (out + dh) * self.df(h)
            g["weight_ih"] += da.T @ step
            g["weight_hh"] += da.T @ (before * self.mask)
            g["bias_ih"] += da.sum(0)
            g["bias_hh"] += da.sum(0)
            dx.append(da @ p["weight_ih"])
            dh = (da @ p["weight_hh"]) * self.mask
        return np.stack(dx[::-1]), g, (dh,)


class Jordan:
    """h_t = f(W x_t + b + U (m y_{t-1})), y_t = V h_t + c."""

    def __init__(self, p: Arrays, activation: str = "tanh", mask: np.ndarray | float = 1.0) -> None:
        self.p, self.mask = p, mask
        self.f, self.df = FUNCTIONS[activation]

    def forward(self, x, state):
        p, (y,), tape, ys = self.p, state, [], []
        for step in x:
            before = y
            h = self.f(step @ p["weight_ih"].T + p["bias_h"] + (before * self.mask) @ p["weight_yh"].T)
            y = h @ p["weight_hy"].T + p["bias_y"]
            tape.append((step, before, h))
            ys.append(y)
        return np.stack(ys), (y,), tape

    def backward(self, dy, tape):
        p, g = self.p, zeros_like(self.p)
        dx, back = [], np.zeros_like(dy[0])
        for out, (step, before, h) in zip(dy[::-1], tape[::-1], strict=True):
            d = out + back
            g["weight_hy"] += d.T @ h
            g["bias_y"] += d.sum(0)
            da = (d @ p["weight_hy"]) * self.df(h)
            g["weight_ih"] += da.T @ step
            g["weight_yh"] += da.T @ (before * self.mask)
            g["bias_h"] += da.sum(0)
            dx.append(da @ p["weight_ih"])
            back = (da @ p["weight_yh"]) * self.mask
        return np.stack(dx[::-1]), g, (back,)


class Lstm:
    """Gates i, f, g, o: c_t = f c_{t-1} + i g, h_t = o tanh c_t."""

    def __init__(self, p: Arrays, activation: str = "tanh", mask: np.ndarray | float = 1.0) -> None:
        self.p, self.mask = p, mask

    def forward(self, x, state):
        p, (h, c), tape, ys = self.p, state, [], []
        for step in x:
            before, c_before = h, c
            a = step @ p["weight_ih"].T + p["bias_ih"] + (before * self.mask) @ p["weight_hh"].T + p["bias_hh"]
            i, f, g, o = np.split(a, 4, axis=1)
            i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
            c = f * c_before + i * g
            h = o * np.tanh(c)
            tape.append((step, before, c_before, c, i, f, g, o))
            ys.append(h)
        return np.stack(ys), (h, c), tape

    def backward(self, dy, tape):
        p, grads = self.p, zeros_like(self.p)
        dx, dh, dc = [], np.zeros_like(dy[0]), np.zeros_like(dy[0])
        for out, (step, before, c_before, c, i, f, g, o) in zip(dy[::-1], tape[::-1], strict=True):
            dh = dh + out
            t = np.tanh(c)
            dc = dc + dh * o * (1 - t**2)
            da = np.concatenate(
                [dc * g * i * (1 - i), dc * c_before * f * (1 - f), dc * i * (1 - g**2), dh * t * o * (1 - o)], axis=1
            )
            grads["weight_ih"] += da.T @ step
            grads["weight_hh"] += da.T @ (before * self.mask)
            grads["bias_ih"] += da.sum(0)
            grads["bias_hh"] += da.sum(0)
            dx.append(da @ p["weight_ih"])
            dh, dc = (da @ p["weight_hh"]) * self.mask, dc * f
        return np.stack(dx[::-1]), grads, (dh, dc)


class Gru:
    """r, z, n as torch has them: n = tanh(W_n x + b_n + r (R_n h + c_n)), h_t = (1 - z) n + z h_{t-1}."""

    def __init__(self, p: Arrays, activation: str = "tanh", mask: np.ndarray | float = 1.0) -> None:
        self.p, self.mask = p, mask

    def forward(self, x, state):
        p, (h,), tape, ys = self.p, state, [], []
        for step in x:
            before = h
            r_in, z_in, n_in = np.split(step @ p["weight_ih"].T + p["bias_ih"], 3, axis=1)
            r_hid, z_hid, n_hid = np.split((before * self.mask) @ p["weight_hh"].T + p["bias_hh"], 3, axis=1)
            r, z = sigmoid(r_in + r_hid), sigmoid(z_in + z_hid)
            n = np.tanh(n_in + r * n_hid)
            h = (1 - z) * n + z * before
            tape.append((step, before, r, z, n, n_hid))
            ys.append(h)
        return np.stack(ys), (h,), tape

    def backward(self, dy, tape):
        p, g = self.p, zeros_like(self.p)
        dx, dh = [], np.zeros_like(dy[0])
        for out, (step, before, r, z, n, n_hid) in zip(dy[::-1], tape[::-1], strict=True):
            dh = dh + out
            dn = dh * (1 - z) * (1 - n**2)
            dz = dh * (before - n) * z * (1 - z)
            dr = dn * n_hid * r * (1 - r)
            d_in, d_hid = np.concatenate([dr, dz, dn], axis=1), np.concatenate([dr, dz, dn * r], axis=1)
            g["weight_ih"] += d_in.T @ step
            g["bias_ih"] += d_in.sum(0)
            g["weight_hh"] += d_hid.T @ (before * self.mask)
            g["bias_hh"] += d_hid.sum(0)
            dx.append(d_in @ p["weight_ih"])
            dh = dh * z + (d_hid @ p["weight_hh"]) * self.mask
        return np.stack(dx[::-1]), g, (dh,)


LAYERS = {"elman": Elman, "jordan": Jordan, "lstm": Lstm, "gru": Gru}


def softmax(x):
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def cross_entropy(logits, target):
    """Mean over ``target: int[...]`` in nats, and its gradient."""
    p = softmax(logits)
    right = np.take_along_axis(p, target[..., None], -1)
    d = p.copy()
    np.put_along_axis(d, target[..., None], right - 1, -1)
    return float(-np.log(right).mean()), d / target.size


def mean_square(y, target):
    """Mean squared error and its gradient."""
    return float(((y - target) ** 2).mean()), 2 * (y - target) / y.size


class Network:
    """Embedding or scaler, layers, head, output scaler: the model of `edge_rnn.models.SequenceModel` by its weights."""

    def __init__(self, cell: str, p: Arrays, count: int, activation: str = "tanh", masks=None) -> None:
        self.p, self.count = p, count
        self.layers = []
        for i in range(count):
            prefix = f"layers.{i}."
            own = {k.removeprefix(prefix).removesuffix("_l0"): v for k, v in p.items() if k.startswith(prefix)}
            self.layers.append(LAYERS[cell](own, activation, 1.0 if masks is None else masks[i]))
        self.cell = cell

    def first_state(self, batch):
        states = []
        for layer in self.layers:
            names = [name for name in ("weight_hh", "weight_yh") if name in layer.p]
            width = layer.p[names[0]].shape[1]
            states.append(tuple(np.zeros((batch, width)) for _ in range(2 if self.cell == "lstm" else 1)))
        return states

    def forward(self, x, states):
        if "embedding.weight" in self.p:
            value = self.p["embedding.weight"][x]
        else:
            value = (x - self.p["scaler.mean"]) / self.p["scaler.std"]
        tapes, new = [], []
        for layer, state in zip(self.layers, states, strict=True):
            value, last, tape = layer.forward(value, state)
            tapes.append(tape)
            new.append(last)
        logits = value @ self.p["head.weight"].T + self.p["head.bias"]
        scale = self.p.get("output_scaler.std", 1.0)
        return logits * scale + self.p.get("output_scaler.mean", 0.0), new, (x, value, tapes, scale)

    def backward(self, dy, tape):
        """Gradients by torch's full names; nothing flows into the states from before."""
        x, top, tapes, scale = tape
        d = dy * scale
        grads = {"head.weight": np.einsum("tbo,tbh->oh", d, top), "head.bias": d.sum((0, 1))}
        d = d @ self.p["head.weight"]
        for i in range(self.count - 1, -1, -1):
            d, own, _ = self.layers[i].backward(d, tapes[i])
            grads.update({f"layers.{i}.{name}": value for name, value in own.items()})
        if "embedding.weight" in self.p:
            table = np.zeros_like(self.p["embedding.weight"])
            np.add.at(table, x, d)
            grads["embedding.weight"] = table
        return grads
