"""Learning from data that comes in pieces: ``partial_fit`` and ``fit_stream``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from crossent.errors import invalid_value
from crossent.estimators.batches import Batch, open_batches
from crossent.estimators.features import mean_square_length
from crossent.estimators.parameters import as_generator, check_parameters
from crossent.estimators.prediction import PredictionMixin
from crossent.estimators.survey import StreamedBlocks, Survey
from crossent.estimators.truth import class_names, class_weights, is_soft, label_vector, read_truth
from crossent.estimators.weights import check_sample_weight
from crossent.training import Examples, Problem
from crossent.training.stream import Stream

Array = npt.NDArray[Any]


class StreamingMixin(PredictionMixin):
    """Two more ways to fit a ``SoftmaxClassifier``."""

    _stream: Stream
    _examples: Callable[..., Examples]
    _problem: Callable[..., Problem]

    def partial_fit(self: Any, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Any:
        """Learn from some more rows, in one pass over them.

        No last step is known here, so the optimizer is schedule-free descent, or Adam with a constant step where
        ``optimizer="adam"``; ``schedule``, ``max_epochs``, ``early_stopping``, ``calibrate``, ``average`` and
        ``checkpoint`` are for ``fit``. It goes on from where ``fit`` or the last ``partial_fit`` ended.

        Parameters
        ----------
        X : (n, d) array or sparse matrix of numbers
        y : (n,) labels of any type, or (n, C) array or sparse matrix of float probabilities
        classes : (C,) sequence
            All classes there will be. Needed on the first call with labels; may be left out later.
        sample_weight : (n,) array, optional

        Returns
        -------
        self

        Raises
        ------
        ValueError
            A label that is none of the classes, named; other classes than before; ``class_weight="balanced"``, which
            would need all rows.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from crossent.estimators import SoftmaxClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> model = SoftmaxClassifier(random_state=0)
        >>> for start in range(0, 1500, 100):
        ...     rows = slice(start, start + 100)
        ...     model = model.partial_fit(X[rows], y[rows], classes=range(10))
        >>> model.score(X[1500:], y[1500:]) > 0.85
        True
        """
        check_parameters(self)
        _refuse_processes(self)
        if self.class_weight == "balanced":
            raise invalid_value("class_weight", self.class_weight, "a dict or None: partial_fit never sees all rows")
        first = not hasattr(self, "coefs_")
        x = self._features(X, reset=first)
        if not hasattr(self, "_stream"):
            self.alpha_ = self._penalty(mean_square_length(x))
            stream = self._new_stream()
            if not first:
                stream.theta = np.concatenate(
                    [array.ravel() for layer in zip(self.coefs_, self.intercepts_, strict=True) for array in layer]
                )
                stream.sizes = (self.n_features_in_, *map(len, self.intercepts_))
        else:
            stream = self._stream
        names = self._known_classes(y, classes, first)
        loss = stream.learn(self._examples(x, y, sample_weight, names))
        self._stream = stream
        if loss is None and first:
            raise ValueError("sample_weight is zero in every row: expected a positive weight somewhere")
        if loss is not None:
            self._keep_stream(loss, first)
        return self

    def fit_stream(
        self: Any,
        batches: Iterable[Any] | Callable[[], Iterable[Any]] | str | Path,
        *,
        label: str | Sequence[str] | None = None,
        sample_weight: str | None = None,
        classes: Any = None,
        validation: tuple[Any, Any] | None = None,
    ) -> Any:
        """Train on batches of rows, of which only one is in memory at a time.

        A first pass counts the rows and finds the classes, the mean row and a sample for the step size; then come
        ``max_epochs`` passes with the same optimizer, schedule and stopping as in ``fit``. Batches that can be read
        only once are learned in one pass, as by ``partial_fit``.

        Parameters
        ----------
        batches : iterable, callable or path
            An iterable of tuples (X, y) or (X, y, sample_weight), or a function that returns one; every pass has to
            give the same batches. An iterator is read once. Or the path of a Parquet file or of a directory of them:
            then the batches are blocks of rows from four places of the data, in a new order for each epoch.
            Rows are shuffled within a batch: the batches of a list should each be a sample of all.
        label : str or sequence of str
            Of Parquet files: the column of the labels, or the columns of the classes' probabilities.
        sample_weight : str, optional
            Of Parquet files: the column of the weights. All other columns are features.
        classes : (C,) sequence, optional
            Needed for an iterator of labels; else found by the first pass.
        validation : tuple (X, y), optional
            As in ``fit``; ``early_stopping`` and ``calibrate`` need it here.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            What ``fit`` raises; a pass that gives other batches than the first.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from crossent.estimators import SoftmaxClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> batches = [(X[start::4], y[start::4]) for start in range(4)]
        >>> model = SoftmaxClassifier(random_state=0).fit_stream(batches)
        >>> model.score(X, y) > 0.98
        True
        """
        check_parameters(self)
        _refuse_processes(self)
        source = open_batches(batches, label, sample_weight)
        if classes is None and label is not None and not isinstance(label, str):
            classes = list(label)
        if source.once:
            return self._learn_once(source.read(), classes, validation)
        if validation is None and (self.early_stopping or self.calibrate):
            raise ValueError("validation = None: expected rows (X, y), for early_stopping and calibrate in fit_stream")
        survey = self._survey(source, classes)
        weights = class_weights(self.class_weight, survey.classes, survey.class_mass)
        if weights is not None and not weights.all():
            raise invalid_value("class_weight", self.class_weight, "positive weights: leave the rows out instead")
        rng = as_generator(self.random_state)
        self.classes_ = survey.classes
        held_out = None if validation is None else self._validation(validation)
        store = None if self.checkpoint is None else self._open_stream_checkpoint(survey, held_out, rng)
        center: Any = survey.mean if self.center else False
        mass = self._mass(survey, weights)
        mass_per_row = mass / survey.rows
        self.alpha_ = self._penalty(mean_square_length(survey.x, survey.weight), mass)

        def problem(examples: Examples) -> Problem:
            made: Problem = self._problem(examples, center=center, mass_per_row=mass_per_row)
            return made

        def examples(batch: Batch) -> Examples:
            x = self._features(batch.x, reset=False)
            made: Examples = self._examples(x, batch.y, batch.weight, survey.classes, weights=weights)
            return made

        probe = problem(self._examples(survey.x, survey.y, survey.weight, survey.classes, weights=weights))
        blocks = StreamedBlocks(source, survey, examples, problem, probe, self._batch_rows())
        self._train(blocks, rng, held_out, store, None, (None, None, None))
        return self

    def _known_classes(self: Any, y: Any, classes: Any, first: bool) -> Any:
        if not first:
            if classes is not None and not np.array_equal(np.asarray(classes), self.classes_):
                raise invalid_value("classes", classes, f"{self.classes_.tolist()!r}, those of the first call")
            names = self.classes_
        elif classes is None:
            if is_soft(y):
                return None
            raise ValueError("classes must be passed on the first call to partial_fit.")
        else:
            names = class_names(classes, None)
        if not is_soft(y):
            unknown = np.setdiff1d(label_vector(np.asarray(y)), names)
            if len(unknown):
                raise ValueError(
                    f"y has the classes {unknown.tolist()!r}, which are not among {names.tolist()!r}: give all classes "
                    "there will be as classes= on the first call"
                )
        return names

    def _new_stream(self: Any) -> Stream:
        return Stream(
            hidden_layer_sizes=tuple(self.hidden_layer_sizes),
            name="adam" if self.optimizer == "adam" else "schedule-free",
            momentum=float(self.momentum),
            alpha=self.alpha_ * (1 - self.l1_ratio),
            l1=self.alpha_ * self.l1_ratio,
            dropout=float(self.dropout),
            batch_size=self._batch_rows(),
            learning_rate=None if self.learning_rate == "auto" else float(self.learning_rate),
            center=bool(self.center),
            n_threads=int(self.n_threads),
            rng=as_generator(self.random_state),
        )

    def _keep_stream(self: Any, loss: float, first: bool) -> None:
        self.coefs_, self.intercepts_ = self._stream.parameters()
        if first:
            self.loss_curve_, self.n_iter_, self.temperature_ = [], 0, 1.0
            self.validation_scores_: list[float] = []
            self.validation_accuracies_: list[float] = []
        self.loss_curve_ = [*self.loss_curve_, loss]
        self.n_iter_ += 1
        self.best_iter_ = self.n_iter_
        self.objective_gap_: float | None = None
        self.learning_rate_ = float(self._stream.last_rate)

    def _learn_once(self: Any, batches: Iterable[Batch], classes: Any, validation: Any) -> Any:
        if validation is not None:
            raise ValueError("validation is given: expected batches that can be read again, such as a list")
        if self.max_epochs not in ("auto", 1):
            raise invalid_value("max_epochs", self.max_epochs, "'auto' or 1: an iterator can be read only once")
        if self.checkpoint is not None:
            raise invalid_value("checkpoint", self.checkpoint, "None: an iterator cannot be read again")
        for name in ("coefs_", "_stream", "classes_"):
            self.__dict__.pop(name, None)
        empty = True
        for batch in batches:
            self.partial_fit(batch.x, batch.y, classes, batch.weight)
            empty = False
        if empty:
            raise ValueError("batches is empty: expected at least one (X, y)")
        return self

    def _survey(self: Any, source: Any, classes: Any) -> Survey:
        survey, rng = Survey(), np.random.default_rng(0)
        for at, batch in enumerate(source.read()):
            x = self._features(batch.x, reset=at == 0)
            truth = read_truth(batch.y, x.shape[0], self._dtype, classes=classes, argument=f"y of batches[{at}]")
            weight = np.ones(x.shape[0])
            if batch.weight is not None:
                weight = check_sample_weight(batch.weight, x.shape[0], may_be_zero=True)
            survey.add(x, batch.y, truth, weight, rng)
        if not survey.rows:
            raise ValueError("batches have no row of any weight: expected at least one")
        return survey

    def _mass(self: Any, survey: Survey, weights: npt.NDArray[np.float64] | None) -> float:
        each = np.ones(len(survey.classes)) if weights is None else weights
        smoothing = float(self.label_smoothing)
        return float((1 - smoothing) * (survey.class_mass @ each) + smoothing * survey.mass * each.mean())


def _refuse_processes(model: Any) -> None:
    if model.distributed:
        raise invalid_value("distributed", model.distributed, "False: only fit shares its rows over processes")
