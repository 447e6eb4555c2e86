"""Classification of tables without training, as a scikit-learn estimator.

Letters: N rows to learn from, M rows to classify, F columns, C classes.
"""

from __future__ import annotations

import math
import numbers
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_array

from foretoken import errors
from foretoken.errors import ForetokenWarning, InvalidInput, InvalidType, NotFound
from foretoken.estimators.contexts import Answer, Contexts, Local, Remote, Training
from foretoken.estimators.labels import as_sent, labels_of
from foretoken.frames import Frame, frame_of, is_frame, unmasked

if TYPE_CHECKING:
    from sklearn.utils import Tags

    from foretoken.client import Client

__all__ = ["NotFitted", "TabularClassifier"]

ROWS = 4096  # that are classified at a time, so that any number of them takes little memory


class NotFitted(errors.NotFitted, NotFittedError):  # type: ignore[misc]
    """See ``foretoken.errors``; scikit-learn's own, too."""


class TabularClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Classifies rows of a table by labelled ones, which are read once and kept as a context.

    Tables are NumPy arrays, lists of rows, frames of pandas or polars, tables of Arrow, or dicts of
    columns: numbers, bools, strings or categories, with missing values. Strings, bools and columns
    of a category dtype have no order; a category that was not there in ``fit`` counts as missing.

    Args:
        model: ``NAME`` (its champion), ``NAME:VERSION`` or ``ALIAS@NAME``.
        server: None answers in this process; else a server's "host:port", or a
            ``foretoken.Client`` with a token or TLS.
        members: of the ensemble; the default is the model's.
        seed: of all that is drawn; the same gives the same probabilities.
        categorical: further columns whose values have no order, by name, or by index where columns
            have no names.
        limit: for tables larger than the model takes: "refuse", or "subsample", which shows each
            member of the ensemble a random part.
        temperature: logits are divided by it; the default is the model's.
        data_dir: of the registry in this process; the default is that of the command line.

    Attributes:
        classes_: sorted labels, [C].
        n_features_in_: F.
        feature_names_in_: names of the columns, [F], if all are strings.
        context_id_: under which the rows are kept. A pickle carries it, and not the rows.
        notes_: choices that were made for the caller, such as columns that are not used.
    """

    def __init__(
        self,
        model: str = "tabpfn",
        server: str | Client | None = None,
        *,
        members: int | None = None,
        seed: int = 0,
        categorical: Sequence[str | int] | None = None,
        limit: str = "refuse",
        temperature: float | None = None,
        data_dir: Path | str | None = None,
    ) -> None:
        self.model = model
        self.server = server
        self.members = members
        self.seed = seed
        self.categorical = categorical
        self.limit = limit
        self.temperature = temperature
        self.data_dir = data_dir

    def fit(self, X: Any, y: Any) -> Self:
        """Have the model read labelled rows, and keep what it has read as a context.

        Args:
            X: table [N, F].
            y: labels [N]: integers, bools, strings, or floats without a fraction.

        Raises:
            InvalidInput: for anything unusable; the message names column and row.
            NotFound: if there is no such model.
            ForetokenError: what else ``foretoken.Client`` raises, if a server answers.
        """
        frame, training, classes = self._training(X, y)
        learned = self._contexts().fit(self.model, training)
        self._names = frame.names
        self.n_features_in_ = len(frame.names)
        if frame.named:
            self.feature_names_in_ = np.array(frame.names, object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        self.classes_ = classes
        self.context_id_ = learned.context.id
        self.notes_ = learned.notes
        return self

    def context_bytes(self, X: Any, y: Any) -> int:
        """Bytes that the context of a table will take; arguments are those of ``fit``."""
        _, training, _ = self._training(X, y)
        return self._contexts().measure(self.model, training)

    def predict(self, X: Any) -> NDArray[Any]:
        """The likeliest class of each row [M]; see ``predict_proba``."""
        best = self.predict_proba(X).argmax(axis=1)
        likeliest: NDArray[Any] = self.classes_[best]
        return likeliest

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probabilities of the classes, float64 [M, C], in the order of ``classes_``.

        Args:
            X: table [M, F] with the columns that were fitted.

        Raises:
            NotFitted: before ``fit``, or if the context has been deleted or has expired since.
            InvalidInput: for anything unusable; the message names column and row.
        """
        return np.concatenate([part.probabilities for part in self._answers(X)])

    def predict_uncertainty(self, X: Any) -> NDArray[np.float64]:
        """How far the members of the ensemble disagree on each row, float64 [M], in nats.

        The mutual information of label and member: 0 where they agree, or there is one only.
        Arguments and errors are those of ``predict_proba``.
        """
        return np.concatenate([part.uncertainty for part in self._answers(X)])

    # -- inside -----------------------------------------------------------------------------------

    def _training(self, X: Any, y: Any) -> tuple[Frame, Training, NDArray[Any]]:
        frame = self._table(X)
        labels = labels_of(y)
        if len(labels.target) != frame.rows:
            raise InvalidInput(
                f"Found input variables with inconsistent numbers of samples: X has {frame.rows} "
                f"rows and y has {len(labels.target)} labels"
            )
        categorical = frame.categorical | self._called_categorical(frame.names)
        training = Training(frame.columns, labels.target, categorical, self._options())
        return frame, training, labels.classes

    def _table(self, X: Any) -> Frame:
        if X is None or is_frame(X):
            frame = frame_of(X)
            for size, what in ((frame.rows, "sample(s)"), (len(frame.names), "feature(s)")):
                if size == 0:
                    raise InvalidInput(
                        f"Found array with 0 {what} (shape=({frame.rows}, {len(frame.names)})) "
                        "while a minimum of 1 is required."
                    )
            return frame
        return frame_of(self._checked(X))

    def _checked(self, X: Any) -> NDArray[Any]:
        """An array as scikit-learn checks it, of its own dtype; missing values are left in it."""
        if isinstance(X, np.ma.MaskedArray):
            X = unmasked(X)
        given = {"ensure_all_finite": False, "estimator": self, "input_name": "X"}
        try:
            array = check_array(X, dtype=None, **given)
            if array.dtype.kind in "US" and not hasattr(X, "dtype"):
                array = check_array(X, dtype=object, **given)  # keeps numbers beside text
        except TypeError as e:
            raise InvalidType(str(e)) from e
        except ValueError as e:
            raise InvalidInput(str(e)) from e
        checked: NDArray[Any] = array
        return checked

    def _called_categorical(self, names: Sequence[str]) -> frozenset[str]:
        called: set[str] = set()
        if isinstance(self.categorical, str):
            raise InvalidType(
                f"categorical is a list of columns, not {self.categorical!r}: give "
                f"[{self.categorical!r}]"
            )
        for each in self.categorical or ():
            index = isinstance(each, numbers.Integral) and 0 <= each < len(names)
            if not index and each not in names:
                raise InvalidInput(
                    f"categorical names {each!r}, which is no column; there are {list(names)}"
                )
            called.add(names[int(each)] if index else str(each))
        return frozenset(called)

    def _options(self) -> dict[str, float | str]:
        options: dict[str, float | str] = {"limit": self.limit}
        for name in ("seed", "members", "temperature"):
            value = getattr(self, name)
            if value is None and name != "seed":
                continue
            if not isinstance(value, numbers.Real) or not math.isfinite(value):
                raise InvalidType(f"{name} must be a finite number, not {value!r}")
            options[name] = float(value)
        if not isinstance(self.limit, str):
            raise InvalidType(f"limit is 'refuse' or 'subsample', not {self.limit!r}")
        return options

    def _answers(self, X: Any) -> Iterator[Answer]:
        """Answers to consecutive rows, with the classes in the order of ``classes_``."""
        self._expect_fitted()
        frame = self._table(X)
        self._expect_same(frame)
        contexts, said = self._contexts(), set(self.notes_)
        for part in frame.parts(ROWS):
            columns = dict(zip(self._names, part.values(), strict=True))
            try:
                answer = contexts.predict(self.context_id_, columns)
            except NotFound as e:
                raise NotFitted(f"what was fitted is not there: {e}; call fit again") from e
            for note in answer.notes:
                if note not in said:
                    warnings.warn(note, ForetokenWarning, stacklevel=3)
            said.update(answer.notes)
            yield self._in_order(answer)

    def _in_order(self, answer: Answer) -> Answer:
        place = {label: i for i, label in enumerate(answer.classes.tolist())}
        columns = [place[label] for label in as_sent(self.classes_).tolist()]
        probabilities = answer.probabilities[:, columns]
        return Answer(probabilities, self.classes_, answer.uncertainty, answer.notes)

    def _expect_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            raise NotFitted(f"this {type(self).__name__} has not been fitted: call fit first")

    def _expect_same(self, frame: Frame) -> None:
        """Refuse a table that cannot have the columns that were fitted."""
        name, expected = type(self).__name__, self.n_features_in_
        fitted = getattr(self, "feature_names_in_", None)
        if frame.named and fitted is not None and frame.names != self._names:
            raise InvalidInput(_differing(frame.names, self._names))
        if len(frame.names) != expected:
            raise InvalidInput(
                f"X has {len(frame.names)} features, but {name} is expecting {expected} features "
                f"as input: {list(self._names)}"
            )
        if frame.named != (fitted is not None):
            has, had = ("does not have valid", "with") if fitted is not None else ("has", "without")
            warnings.warn(
                f"X {has} feature names, but {name} was fitted {had} feature names: columns are "
                "taken in order",
                UserWarning,
                stacklevel=4,
            )

    def _contexts(self) -> Contexts:
        if self.server is None:
            return _local(self.data_dir)
        if self.data_dir is not None:
            raise InvalidInput("data_dir is this process's own; a server has its registry itself")
        from foretoken.client import Client  # noqa: PLC0415

        if isinstance(self.server, Client):
            return Remote(self.server)
        address, client = getattr(self, "_connected", (None, None))
        if client is None or address != self.server:
            client = Client(self.server)
            self._connected = self.server, client
        return Remote(client)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_connected"}

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "context_id_")

    def __sklearn_clone__(self) -> Self:
        """With the same connection; a copy would open one for each fold."""
        return type(self)(**self.get_params(deep=False))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.target_tags.required = True
        return tags


def _local(data_dir: Path | str | None) -> Local:
    from foretoken.server.app import local_plane  # noqa: PLC0415 - needs a server's packages
    from foretoken.server.settings import load_settings  # noqa: PLC0415

    here = None if data_dir is None else Path(data_dir)
    return Local(local_plane(load_settings(data_dir=here)))


def _differing(given: Sequence[str], fitted: Sequence[str]) -> str:
    unseen = [name for name in given if name not in fitted]
    missing = [name for name in fitted if name not in given]
    said = "The feature names should match those that were passed during fit.\n"
    if unseen:
        said += f"Feature names unseen at fit time: {unseen}\n"
    if missing:
        said += f"Feature names seen at fit time, yet now missing: {missing}\n"
    if not unseen and not missing:
        said += "Feature names must be in the same order as they were in fit.\n"
    return said.rstrip()
