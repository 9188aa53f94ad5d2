"""NovoGrad optimizer: momentum of gradients that are normalized per tensor."""

import keras
from keras import ops

from jasper_tf.optim.in_place import resource_of, updates_in_place

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf


@keras.saving.register_keras_serializable(package="jasper_tf")
class NovoGrad(keras.optimizers.Optimizer):
    """NovoGrad (Ginsburg et al. 2019, arXiv:1905.11286, algorithm 1), with NeMo's conventions.

    For each tensor p with gradient g, a scalar v and a momentum m, both 0 at first:

        v <- |g|^2 where v is 0, else beta_2 v + (1 - beta_2) |g|^2
        u  = g / (sqrt(v) + epsilon) + weight_decay p      (times 1 - beta_1 with grad_averaging)
        m <- beta_1 m + u
        p <- p - learning_rate m

    There is no bias correction. The decay is part of the momentum, unlike the decoupled decay of the Keras base class,
    which is switched off. It applies to every variable, batch norm and biases included, unless
    `exclude_from_weight_decay` was called.

    Args:
        learning_rate: float or `keras.optimizers.schedules.LearningRateSchedule`.
        betas: (beta_1, beta_2), decay rates of the first and the second moment. Jasper uses (0.8, 0.5) or (0.95, 0.25).
        epsilon: added to sqrt(v).
        weight_decay: L2 decay, per step, before the learning rate.
        grad_averaging: scale u by 1 - beta_1.
        amsgrad: divide by the square root of the largest v so far.
        **kwargs: those of `keras.optimizers.Optimizer` (clipping, EMA, loss scale, ...).
    """

    def __init__(
        self,
        learning_rate=0.001,
        betas: tuple[float, float] = (0.95, 0.98),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        grad_averaging: bool = False,
        amsgrad: bool = False,
        name: str = "novograd",
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, weight_decay=weight_decay, name=name, **kwargs)
        if len(betas) != 2 or not all(0.0 <= beta < 1.0 for beta in betas):
            raise ValueError(f"NovoGrad: betas must be two numbers in [0, 1), not {betas}")
        self.betas = (float(betas[0]), float(betas[1]))
        self.epsilon = epsilon
        self.grad_averaging = grad_averaging
        self.amsgrad = amsgrad

    def build(self, variables) -> None:
        """Creates the state: per variable a momentum like it, and one float32 scalar (two with amsgrad)."""
        if self.built:
            return
        super().build(variables)
        self._momentums = self.add_optimizer_variables(variables, "momentum")
        self._norms = [self._scalar(variable, "norm") for variable in variables]
        self._max_norms = [self._scalar(variable, "max_norm") for variable in variables] if self.amsgrad else []

    def _scalar(self, variable, name: str):
        # Float32 even for half-precision variables: a squared norm exceeds the range of float16.
        path = getattr(variable, "path", variable.name).replace("/", "_").replace(":", "_")
        return self.add_variable(shape=(), dtype="float32", name=f"{path}_{name}")

    def update_step(self, gradient, variable, learning_rate) -> None:
        """One step for one variable; called by the base class."""
        index = self._get_variable_index(variable)
        beta_1, beta_2 = self.betas
        gradient = ops.cast(gradient, "float32")
        in_place = self.betas[0] > 0 and updates_in_place(variable)

        norm = self._norms[index]
        squared = 2.0 * tf.nn.l2_loss(gradient) if in_place else ops.sum(ops.square(gradient))
        new_norm = ops.where(ops.equal(norm, 0.0), squared, beta_2 * norm + (1.0 - beta_2) * squared)
        self.assign(norm, new_norm)
        if self.amsgrad:
            new_norm = ops.maximum(self._max_norms[index], new_norm)
            self.assign(self._max_norms[index], new_norm)

        share = 1.0 - beta_1 if self.grad_averaging else 1.0
        update = gradient * (share / (ops.sqrt(new_norm) + self.epsilon))
        decay = share * self.weight_decay if self.weight_decay and self._use_weight_decay(variable) else 0.0
        momentum = self._momentums[index]
        if in_place:
            self._update_in_place(variable, resource_of(momentum), update, decay, learning_rate)
            return
        if decay:
            update = update + decay * ops.cast(variable, "float32")
        new_momentum = beta_1 * ops.cast(momentum, "float32") + update
        self.assign(momentum, ops.cast(new_momentum, momentum.dtype))
        step = ops.cast(learning_rate, "float32") * new_momentum
        self.assign_sub(variable, ops.cast(step, variable.dtype))

    def _update_in_place(self, variable, momentum, update, decay: float, learning_rate) -> None:
        """The same step by two kernels without temporary tensors: half the passes over the memory."""
        if decay:
            # The next kernel multiplies it by beta_1.
            value = ops.convert_to_tensor(variable)
            tf.raw_ops.ResourceApplyGradientDescent(var=momentum, alpha=-decay / self.betas[0], delta=value)
        tf.raw_ops.ResourceApplyMomentum(
            var=resource_of(variable),
            accum=momentum,
            lr=ops.cast(learning_rate, "float32"),
            grad=update,
            momentum=self.betas[0],
        )

    def _apply_weight_decay(self, variables) -> None:
        # The base class would decay a second time, outside of the momentum.
        return

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "betas": list(self.betas),
            "epsilon": self.epsilon,
            "grad_averaging": self.grad_averaging,
            "amsgrad": self.amsgrad,
        }
