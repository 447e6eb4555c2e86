# mypy: disable-error-code="type-arg"
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Detail(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SUMMARY: _ClassVar[Detail]
    DISTRIBUTION: _ClassVar[Detail]
    BOTH: _ClassVar[Detail]
SUMMARY: Detail
DISTRIBUTION: Detail
BOTH: Detail

class Metric(_message.Message):
    __slots__ = ("minimize", "bounds", "soft_bounds")
    MINIMIZE_FIELD_NUMBER: _ClassVar[int]
    BOUNDS_FIELD_NUMBER: _ClassVar[int]
    SOFT_BOUNDS_FIELD_NUMBER: _ClassVar[int]
    minimize: bool
    bounds: Interval
    soft_bounds: Interval
    def __init__(self, minimize: bool = ..., bounds: _Optional[_Union[Interval, _Mapping]] = ..., soft_bounds: _Optional[_Union[Interval, _Mapping]] = ...) -> None: ...

class Interval(_message.Message):
    __slots__ = ("low", "high")
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    low: float
    high: float
    def __init__(self, low: _Optional[float] = ..., high: _Optional[float] = ...) -> None: ...

class Curve(_message.Message):
    __slots__ = ("values", "steps", "at", "metric")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    steps: _containers.RepeatedScalarFieldContainer[float]
    at: _containers.RepeatedScalarFieldContainer[float]
    metric: Metric
    def __init__(self, values: _Optional[_Iterable[float]] = ..., steps: _Optional[_Iterable[float]] = ..., at: _Optional[_Iterable[float]] = ..., metric: _Optional[_Union[Metric, _Mapping]] = ...) -> None: ...

class ExtrapolateRequest(_message.Message):
    __slots__ = ("model", "curves", "quantiles", "detail", "key")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CURVES_FIELD_NUMBER: _ClassVar[int]
    QUANTILES_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    model: str
    curves: _containers.RepeatedCompositeFieldContainer[Curve]
    quantiles: _containers.RepeatedScalarFieldContainer[float]
    detail: Detail
    key: str
    def __init__(self, model: _Optional[str] = ..., curves: _Optional[_Iterable[_Union[Curve, _Mapping]]] = ..., quantiles: _Optional[_Iterable[float]] = ..., detail: _Optional[_Union[Detail, str]] = ..., key: _Optional[str] = ...) -> None: ...

class ExtrapolateResponse(_message.Message):
    __slots__ = ("posteriors", "model", "version", "borders")
    POSTERIORS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    BORDERS_FIELD_NUMBER: _ClassVar[int]
    posteriors: _containers.RepeatedCompositeFieldContainer[Posterior]
    model: str
    version: int
    borders: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, posteriors: _Optional[_Iterable[_Union[Posterior, _Mapping]]] = ..., model: _Optional[str] = ..., version: _Optional[int] = ..., borders: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Posterior(_message.Message):
    __slots__ = ("steps", "levels", "mean", "quantiles", "bars")
    STEPS_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    QUANTILES_FIELD_NUMBER: _ClassVar[int]
    BARS_FIELD_NUMBER: _ClassVar[int]
    steps: _containers.RepeatedScalarFieldContainer[float]
    levels: _containers.RepeatedScalarFieldContainer[float]
    mean: _containers.RepeatedScalarFieldContainer[float]
    quantiles: _containers.RepeatedScalarFieldContainer[float]
    bars: Bars
    def __init__(self, steps: _Optional[_Iterable[float]] = ..., levels: _Optional[_Iterable[float]] = ..., mean: _Optional[_Iterable[float]] = ..., quantiles: _Optional[_Iterable[float]] = ..., bars: _Optional[_Union[Bars, _Mapping]] = ...) -> None: ...

class Bars(_message.Message):
    __slots__ = ("logits", "borders", "scale")
    LOGITS_FIELD_NUMBER: _ClassVar[int]
    BORDERS_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    logits: bytes
    borders: int
    scale: Metric
    def __init__(self, logits: _Optional[bytes] = ..., borders: _Optional[int] = ..., scale: _Optional[_Union[Metric, _Mapping]] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("open", "observe")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    OBSERVE_FIELD_NUMBER: _ClassVar[int]
    open: WatchOpen
    observe: Observation
    def __init__(self, open: _Optional[_Union[WatchOpen, _Mapping]] = ..., observe: _Optional[_Union[Observation, _Mapping]] = ...) -> None: ...

class WatchOpen(_message.Message):
    __slots__ = ("model", "metric", "at", "quantiles", "best", "threshold", "key", "seen", "detail")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    QUANTILES_FIELD_NUMBER: _ClassVar[int]
    BEST_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    model: str
    metric: Metric
    at: _containers.RepeatedScalarFieldContainer[float]
    quantiles: _containers.RepeatedScalarFieldContainer[float]
    best: float
    threshold: float
    key: str
    seen: _containers.RepeatedCompositeFieldContainer[Observation]
    detail: Detail
    def __init__(self, model: _Optional[str] = ..., metric: _Optional[_Union[Metric, _Mapping]] = ..., at: _Optional[_Iterable[float]] = ..., quantiles: _Optional[_Iterable[float]] = ..., best: _Optional[float] = ..., threshold: _Optional[float] = ..., key: _Optional[str] = ..., seen: _Optional[_Iterable[_Union[Observation, _Mapping]]] = ..., detail: _Optional[_Union[Detail, str]] = ...) -> None: ...

class Observation(_message.Message):
    __slots__ = ("step", "value", "best")
    STEP_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    BEST_FIELD_NUMBER: _ClassVar[int]
    step: float
    value: float
    best: float
    def __init__(self, step: _Optional[float] = ..., value: _Optional[float] = ..., best: _Optional[float] = ...) -> None: ...

class WatchResponse(_message.Message):
    __slots__ = ("observed", "posterior", "advice", "model", "version", "borders")
    OBSERVED_FIELD_NUMBER: _ClassVar[int]
    POSTERIOR_FIELD_NUMBER: _ClassVar[int]
    ADVICE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    BORDERS_FIELD_NUMBER: _ClassVar[int]
    observed: int
    posterior: Posterior
    advice: Advice
    model: str
    version: int
    borders: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, observed: _Optional[int] = ..., posterior: _Optional[_Union[Posterior, _Mapping]] = ..., advice: _Optional[_Union[Advice, _Mapping]] = ..., model: _Optional[str] = ..., version: _Optional[int] = ..., borders: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Advice(_message.Message):
    __slots__ = ("stop", "chance")
    STOP_FIELD_NUMBER: _ClassVar[int]
    CHANCE_FIELD_NUMBER: _ClassVar[int]
    stop: bool
    chance: float
    def __init__(self, stop: bool = ..., chance: _Optional[float] = ...) -> None: ...
