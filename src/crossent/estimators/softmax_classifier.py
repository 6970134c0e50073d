"""A softmax classifier, linear or with hidden layers, trained by minibatch SGD."""

from __future__ import annotations

from typing import Any, Self

from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import validate_data

from crossent.estimators.exact import never_sees_all_rows
from crossent.estimators.scikit_learn_callbacks import CallbackSupportMixin, with_callbacks
from crossent.estimators.softmax_model import SoftmaxModel


class SoftmaxClassifier(CallbackSupportMixin, SoftmaxModel, ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    r"""Softmax (multinomial logistic) classifier, linear or with ReLU layers, trained by minibatch SGD.

    Minimises, over the weights :math:`W` and biases of the network with logits :math:`z(x)`,

    .. math::

       \frac{\sum_i s_i \sum_c p_{ic}\,(\operatorname{logsumexp} z(x_i) - z_c(x_i))}{\sum_i s_i \sum_c p_{ic}}
       + \alpha \left(\rho \lVert W \rVert_1 + \frac{1 - \rho}{2} \lVert W \rVert_2^2\right),

    where :math:`s_i` is the sample weight, :math:`\rho` the ``l1_ratio`` and :math:`p_{ic}` the truth: 1 at the label,
    or the given probabilities, smoothed and multiplied by the class weights. Log-losses are in nats.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int, default=()
        Widths of the hidden layers; none gives the linear model.
    alpha : float or "auto", default="auto"
        Penalty on the weights, not on the biases. "auto" is 1 / n for rows of mass n (each row's weight times its
        summed truth), as of scikit-learn's ``LogisticRegression``, and 5 / n with hidden layers, but at most 1e-4;
        1e-4 for ``partial_fit``, which does not know how many rows there will be. Sparse rows of a mean squared length
        s below 100, such as normalised texts, need weights so much larger: of these a linear model takes s / 100 of it.
    l1_ratio : float, default=0.0
        In [0, 1]: the share of the penalty that is on the absolute values; those weights that it is too much for are
        exactly 0.
    solver : {"sgd", "exact"}, default="sgd"
        "exact" brings a linear model to the minimum of its objective, over all rows at once (L-BFGS on variables of
        equal curvature, from where five epochs of "sgd" end), until no slope is over ``tol``, 1e-5 by default, or for
        ``max_epochs`` iterations, 1000 by default. ``optimizer``, ``learning_rate``, ``schedule``, ``momentum``,
        ``nesterov`` and ``batch_size`` are of "sgd" only.
    optimizer : {"sgd", "adam", "schedule-free"}, default="sgd"
        "sgd" has momentum. "adam" suits features of mixed scale. "schedule-free" (Defazio et al., 2024) averages its
        points and needs no end to be known: its ``schedule`` is constant.
    learning_rate : "auto" or float, default="auto"
        Step size before the schedule (5 % warm-up, 1000 steps at most, then as ``schedule`` says). "auto" takes it
        for a linear model from the curvature and the noise of the data; with hidden layers from a few trial steps.
        Where the schedule falls "sgd" takes ``sqrt(4 / max_epochs)`` of it, a quarter at least, and more than all of
        it, twice at most, only where the noise decides. See ``learning_rate_``. It is a linear model's step on the
        weights, and on a network's biases and its weights but the first; the others' steps are adjusted to the
        features' scale, so that dividing all features by one number changes nothing.
    schedule : {"linear", "constant", "cosine"}, default="linear"
        How the step falls: in a line to 0, not at all, or as half a cosine to 0.
    momentum : float, default=0.9
        In [0, 1). The first beta of "adam", and the beta of "schedule-free".
    nesterov : bool, default=False
        Of "sgd" only.
    batch_size : "auto" or int, default="auto"
        Rows per step; "auto" is 128.
    max_epochs : "auto" or int, default="auto"
        "auto" is 10, or as many as make 2000 steps.
    tol : float or None, default=None
        Stop when the training log-loss has not fallen by more than this for ``n_iter_no_change`` epochs. With
        ``early_stopping`` it is the validation log-loss that has to fall so much. None runs every epoch.
    early_stopping : bool, default=False
        Hold out ``validation_fraction`` of the rows, unless ``fit`` is given validation rows, and stop when
        their log-loss has not fallen for ``n_iter_no_change`` epochs. The step then goes down to 0 from the best epoch
        on, over a fifth as many epochs as led to it.
    validation_fraction : float, default=0.1
    n_iter_no_change : int, default=5
    calibrate : bool, default=False
        Fit ``temperature_`` on the validation rows after the training; they are held out as for ``early_stopping``.
    label_smoothing : float, default=0.0
        In [0, 1]: the share of each row's truth that is spread evenly over the classes.
    class_weight : dict, "balanced" or None, default=None
        Multiplies the truth of each class.
    center : bool, default=True
        Train on rows minus their mean. The result acts on raw rows all the same: the mean is folded into the
        bias.
    feature_rates : bool, default=True
        Give every feature of dense rows a learning rate of its own, by its deviation and range on a sample of the
        rows: a small feature is then learnt as soon as a large one, in whatever unit it is. Sparse features and
        ``partial_fit`` have one rate.
    dropout : float, default=0.0
        In [0, 1): the share of the hidden units that each row leaves out while training.
    average : bool or float, default=False
        The parameters are the mean over the last steps (Polyak and Juditsky, 1992): True is the last half of them, a
        number in (0, 1] their share. Goes with ``schedule="constant"``.
    warm_start : bool, default=False
        Begin where the last ``fit`` ended. The classes stay those of the first.
    checkpoint : path-like or None, default=None
        A directory for the state of the run, written every few seconds. A ``fit`` of the same data and parameters that
        finds one goes on from there, and ends with the same bits as a run without a break. When the training ends by
        itself the directory is deleted.
    distributed : bool, default=False
        Train one model in the processes that torchrun started (or that share a process group of torch.distributed):
        each gives ``fit`` its own part of the rows, maybe none, and gets the model that one process would have made of
        all rows in the order of the ranks, to rounding. ``checkpoint`` is then a directory that all of them see; a
        run goes on from it on any number of processes. Needs PyTorch.
    n_threads : int, default=1
        Threads that share a batch; the model has the same bits for any number. More than one helps on an idle machine
        only: beside another busy process they take the time of one. Predictions of many rows use as many.
    random_state : int, RandomState, Generator or None, default=None
        Draws the order of the rows, the hidden layers' first weights, the dropout, and the held-out rows.
    dtype : "float32", "float64" or None, default=None
        None keeps float32 and float64, and takes for other types the narrower that holds them exactly.
    verbose : int, default=0
        1 prints a line per epoch.
    callbacks : sequence of callable or None, default=None
        Each is called with a ``TrainingEvent`` a few times per second and after every epoch. One that returns
        True ends the training, with the best parameters so far. scikit-learn's own callbacks go to ``set_callbacks``.

    Attributes
    ----------
    classes_ : (C,) array
    n_features_in_, feature_names_in_
        The latter where X has column names.
    coefs_, intercepts_ : list of arrays, (inputs, outputs) and (outputs,) per layer
    coef_, intercept_ : (C, d) and (C,) array
        Of a linear model, as scikit-learn has them: for two classes (1, d) and (1,), the second's logit minus
        the first's.
    loss_curve_ : list of float
        Each epoch's mean training log-loss, without the penalty, every batch's taken before its step.
    validation_scores_, validation_accuracies_ : list of float
        Log-loss and accuracy on the validation rows after each epoch, if there are any.
    n_iter_ : int
        Epochs completed.
    best_iter_ : int
        The epoch of the parameters: the last, unless the validation log-loss of an earlier one is less by more than
        two standard errors.
    learning_rate_ : float
        The step size used, after any halving.
    temperature_ : float
        What ``predict_proba`` divides the logits by; 1 without ``calibrate``.
    alpha_ : float
        The penalty that was used.
    objective_gap_ : float or None
        Of a linear model that ran all its epochs: its objective is at least so many nats above the minimum. The bound
        is what one feature's weights alone could still gain.

    Warns
    -----
    ConvergenceWarning
        With ``solver="exact"``, if a slope is over ``tol`` still, with its size.
        If the training diverged: the step was halved, and the training went on from the last good state. Or if
        ``objective_gap_`` is over 2 % of the log-loss of the class shares.

    Notes
    -----
    The same seed gives the same bits for any ``n_threads``, and with ``checkpoint`` also over a break.

    A sample weight of k trains as k equal rows do. The rows that ``early_stopping`` and ``calibrate`` hold out are
    drawn row by row: one of weight k is held out whole or not at all, and each of k equal rows by itself, so the two
    need not give one model. The held-out rows' log-loss is taken without weights.

    With a ``KeyboardInterrupt`` the attributes are set from the best parameters so far, and it is raised
    again.

    ``partial_fit`` and ``fit_stream`` learn from data that does not fit into memory.

    References
    ----------
    Defazio et al., "Optimal Linear Decay Learning Rate Schedules and Further Refinements", 2023, and "The Road Less
    Scheduled", 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = SoftmaxClassifier(random_state=0).fit(X, y)
    >>> model.predict(X[:2]), round(model.score(X, y), 2)
    (array([0, 0]), 0.98)

    Soft labels:

    >>> P = np.array([[0.9, 0.1], [0.4, 0.6]])
    >>> model = SoftmaxClassifier(random_state=0, alpha=0).fit([[0.0], [1.0]], P, classes=["cat", "dog"])
    >>> model.predict_proba([[1.0]]).round(3)
    array([[0.4, 0.6]])
    """

    @with_callbacks
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        classes: Any = None,
        validation: tuple[Any, Any] | None = None,
    ) -> Self:
        """Train on rows X and their truth y.

        Parameters
        ----------
        X : (n, d) array or sparse matrix of numbers
            float32, float64 and uint8 are read where they lie; CSR stays sparse, and other sparse formats become it.
        y : (n,) labels of any type, or (n, C) array or sparse matrix of float probabilities
        sample_weight : (n,) array, optional
            A row of weight 2 counts as two rows.
        classes : (C,) sequence, optional
            Names the columns of ``predict_proba`` in order; for labels it may have classes that y lacks. By
            default the sorted labels, or 0 to C-1 for probabilities.
        validation : tuple (X, y), optional
            Rows to take the log-loss of after every epoch; the parameters with the least one are kept.

        Raises
        ------
        ValueError
            A parameter or an entry that cannot be used; ``DataError`` (a ValueError) for NaN or infinity in
            X.
        """
        return super().fit(X, y, sample_weight, classes=classes, validation=validation)

    partial_fit = available_if(never_sees_all_rows)(SoftmaxModel.partial_fit)
    fit_stream = available_if(never_sees_all_rows)(with_callbacks(SoftmaxModel.fit_stream))

    @classmethod
    def from_sklearn(cls, model: Any) -> Self:
        """Return a classifier with the predictions of a fitted scikit-learn one, its layers copied.

        Parameters
        ----------
        model : LogisticRegression or MLPClassifier
            Fitted; a network's hidden layers are ReLU. The parameters of the training are not taken over.

        Raises
        ------
        TypeError, ValueError
            Another kind of model, or one that is no softmax network of ReLU layers.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.linear_model import LogisticRegression
        >>> X, y = load_iris(return_X_y=True)
        >>> peer = LogisticRegression(max_iter=1000).fit(X, y)
        >>> np.allclose(SoftmaxClassifier.from_sklearn(peer).predict_proba(X), peer.predict_proba(X), atol=1e-12)
        True
        """
        from crossent.estimators.interop import layers_of, record_of

        weights, biases = layers_of(model)
        imported = cls(tuple(len(bias) for bias in biases[:-1]))
        imported._restore(
            weights,
            biases,
            classes=model.classes_,
            feature_names=getattr(model, "feature_names_in_", None),
            record=record_of(model),
        )
        return imported

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _checked(self, X: Any, *, reset: bool, least_rows: int) -> Any:
        return validate_data(
            self,
            X,
            reset=reset,
            accept_sparse=("csr", "csc"),
            dtype="numeric",
            ensure_all_finite=False,
            ensure_min_samples=least_rows,
        )
