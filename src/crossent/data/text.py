"""A column of free text as the counts of its character n-grams, hashed to a fixed number of features."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from crossent.data.columns import as_text
from crossent.data.dataset import Dataset

if TYPE_CHECKING:
    import scipy.sparse as sp
    from sklearn.feature_extraction.text import HashingVectorizer

TEXT_FEATURES = 2**15
LONGEST = 4  # characters of an n-gram


@dataclass(frozen=True)
class Text:
    """Sublinear counts of the n-grams of up to four characters within words, every row of length 1.

    An n-gram's feature is a hash of it, so that nothing has to be learnt of the training rows and nothing of a later
    row is unknown; two n-grams may share a feature. A missing text has no features.

    Weinberger et al., "Feature hashing for large scale multitask learning", 2009, section 2.

    Examples
    --------
    >>> column = Text("name", 1024)
    >>> rows = Dataset("pets", pl.DataFrame({"name": ["Rex", None]}), np.arange(1, 3))
    >>> x = column.encode(rows.features["name"], rows)
    >>> x.shape, x.nnz
    ((2, 1024), 13)
    """

    name: str
    n_features: int

    @property
    def feature_names(self) -> list[str]:
        return [f"{self.name}#{index}" for index in range(self.n_features)]

    @cached_property
    def _vectorizer(self) -> HashingVectorizer:
        from sklearn.feature_extraction.text import HashingVectorizer

        return HashingVectorizer(
            analyzer="char_wb",
            ngram_range=(1, LONGEST),
            n_features=self.n_features,
            alternate_sign=False,
            norm=None,
            dtype=np.float32,
        )

    def encode(self, column: pl.Series, dataset: Dataset) -> sp.csr_matrix:
        """Return the features, float32 of shape (n, n_features)."""
        from sklearn.preprocessing import normalize

        counts = self._vectorizer.transform(as_text(column, dataset).fill_null("").to_list())
        np.log1p(counts.data, out=counts.data)
        return normalize(counts, copy=False)
