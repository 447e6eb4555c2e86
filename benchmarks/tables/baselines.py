"""What practitioners classify tables with: one thread, fixed seeds, the libraries' own defaults.

Where something is not a default, ``SETTINGS`` says so. Codes of categories mean nothing to anybody
but the random forest, which splits them as numbers. Categories that training rows do not have are
missing values at prediction.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.common import RESULTS, keep
from benchmarks.tables.validation import SPLITS, Floats, Labels, Probabilities, evaluate, names

__all__ = ["BASELINES", "SETTINGS", "baselines"]

SEED = 0
FILE = "tabular_baselines"
PACKAGES = ("scikit-learn", "catboost", "xgboost")
SETTINGS = {
    "logistic regression": "numbers: median of what is there, standardised; categories: most "
    "frequent where missing, one-hot; C of 10^-3 ... 10^3 by log loss in 5 stratified folds of the "
    "training rows",
    "random forest": "500 trees, else defaults; categories as their codes; missing values native",
    "hist gradient boosting": "defaults (100 iterations); categories and missing values native",
    "catboost": "defaults (1000 iterations); categories native, missing ones a category",
    "xgboost": "defaults (100 trees of depth 6); categories (enable_categorical) and missing "
    "values native",
}


def logistic_regression(
    train: pd.DataFrame, target: Labels, test: pd.DataFrame, categorical: tuple[str, ...]
) -> tuple[Labels, Floats]:
    from sklearn.compose import make_column_transformer  # noqa: PLC0415
    from sklearn.impute import SimpleImputer  # noqa: PLC0415
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from sklearn.model_selection import GridSearchCV, StratifiedKFold  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import OneHotEncoder, StandardScaler  # noqa: PLC0415

    numeric = [c for c in train.columns if c not in categorical]
    filled = {"keep_empty_features": True}
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median", **filled), StandardScaler()), numeric),
        (
            make_pipeline(
                SimpleImputer(strategy="most_frequent", **filled),
                OneHotEncoder(handle_unknown="ignore"),
            ),
            list(categorical),
        ),
    )
    search = GridSearchCV(
        make_pipeline(columns, LogisticRegression(max_iter=2000)),
        {"logisticregression__C": np.logspace(-3, 3, 7)},
        scoring="neg_log_loss",
        cv=StratifiedKFold(5, shuffle=True, random_state=SEED),
    )
    search.fit(train, target)
    return search.classes_, search.predict_proba(test)


def random_forest(
    train: pd.DataFrame, target: Labels, test: pd.DataFrame, _categorical: tuple[str, ...]
) -> tuple[Labels, Floats]:
    from sklearn.ensemble import RandomForestClassifier  # noqa: PLC0415

    model = RandomForestClassifier(500, random_state=SEED, n_jobs=1).fit(train, target)
    return model.classes_, model.predict_proba(test)


def hist_gradient_boosting(
    train: pd.DataFrame, target: Labels, test: pd.DataFrame, categorical: tuple[str, ...]
) -> tuple[Labels, Floats]:
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415

    model = HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=SEED)
    train, test = typed(train, test, categorical)
    model.fit(train, target)
    return model.classes_, model.predict_proba(test)


def catboost(
    train: pd.DataFrame, target: Labels, test: pd.DataFrame, categorical: tuple[str, ...]
) -> tuple[Labels, Floats]:
    from catboost import CatBoostClassifier  # noqa: PLC0415

    train, test = (named(rows, categorical) for rows in (train, test))
    model = CatBoostClassifier(
        cat_features=list(categorical),
        random_seed=SEED,
        thread_count=1,
        verbose=False,
        allow_writing_files=False,
    )
    model.fit(train, target)
    return model.classes_, model.predict_proba(test)


def xgboost(
    train: pd.DataFrame, target: Labels, test: pd.DataFrame, categorical: tuple[str, ...]
) -> tuple[Labels, Floats]:
    from xgboost import XGBClassifier  # noqa: PLC0415

    classes, codes = np.unique(target, return_inverse=True)
    model = XGBClassifier(enable_categorical=True, random_state=SEED, n_jobs=1)
    train, test = typed(train, test, categorical)
    model.fit(train, codes)
    return classes, model.predict_proba(test)


def typed(
    train: pd.DataFrame, test: pd.DataFrame, categorical: tuple[str, ...]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """With pandas' category type, of the categories that training rows have."""
    present = {c: np.unique(train[c].dropna()).astype(np.int64) for c in categorical}
    kinds = {c: pd.CategoricalDtype(pd.Index(codes)) for c, codes in present.items()}
    known = test.assign(**{c: test[c].where(test[c].isin(kinds[c].categories)) for c in kinds})
    return train.astype(kinds), known.astype(kinds)


def named(rows: pd.DataFrame, categorical: tuple[str, ...]) -> pd.DataFrame:
    """With categories as text."""
    texts = {c: rows[c].map(lambda v: "missing" if np.isnan(v) else f"{v:g}") for c in categorical}
    return rows.assign(**texts)


BASELINES: dict[str, Callable[..., tuple[Labels, Floats]]] = {
    "logistic regression": logistic_regression,
    "random forest": random_forest,
    "hist gradient boosting": hist_gradient_boosting,
    "xgboost": xgboost,
    "catboost": catboost,
}


def baselines(again: bool = False) -> dict[str, Any]:
    """What the kept file says of every baseline; what it lacks is computed and kept.

    Args:
        again: compute all of them, whatever is kept.

    Returns:
        "rows" by method, see ``evaluate``; "settings" by method; "versions" by package; "seed".
    """
    path = RESULTS / f"{FILE}.json"
    known = json.loads(path.read_text("utf-8")) if path.exists() and not again else {}
    kept = {name: known.get("rows", {}).get(name, []) for name in BASELINES}
    said = {"settings": SETTINGS, "seed": SEED, "versions": known.get("versions", {}), "rows": kept}
    for (name, method), table in product(BASELINES.items(), names()):
        if all(row["table"] != table for row in kept[name]):
            kept[name] += scored(method, table)
            said["versions"] = {package: version(package) for package in PACKAGES}
            keep(FILE, said)
    return said


def scored(method: Probabilities, table: str) -> list[dict[str, Any]]:
    """Rows of one method over all splits of a table, with one thread."""
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    with threadpool_limits(1):
        rows: list[dict[str, Any]] = evaluate(method, SPLITS, [table])["rows"]
    return rows


if __name__ == "__main__":
    baselines()
