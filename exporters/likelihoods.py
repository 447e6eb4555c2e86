"""How far the next tokens' likelihoods lie from what they should be; runs no model itself.

Letters: N tokens, V tokens of the vocabulary.
"""

from __future__ import annotations

from torch import Tensor

from foretoken.errors import Unsupported

__all__ = ["loss"]


def loss(wanted: Tensor, got: Tensor) -> dict[str, float]:
    """Figures over all tokens.

    Args:
        wanted: logits, float32 [N, V].
        got: as many.

    Returns:
        tokens: N.
        logprob: the largest difference of log-probabilities, in nats, of the tokens that are
            likeliest in ``wanted``.
        divergence: the mean of KL(wanted || got), in nats (Kullback & Leibler 1951).
        likeliest: the share of tokens after which the same one is likeliest.

    Raises:
        Unsupported: if any is not finite.
    """
    if not (wanted.isfinite().all() and got.isfinite().all()):
        raise Unsupported(
            "logits are not finite: numbers between layers are beyond the precision's range, which "
            "is 65504 in float16 and that of float32 in bfloat16"
        )
    # Of what float16 loses, float32 would hear its own rounding only.
    first, second = (each.double().log_softmax(-1) for each in (wanted, got))
    chosen = first.argmax(-1, keepdim=True)
    apart = (first.gather(-1, chosen) - second.gather(-1, chosen)).abs()
    divergence = (first.exp() * (first - second)).sum(-1).mean()
    same = chosen[:, 0] == second.argmax(-1)
    return {
        "tokens": len(wanted),
        "logprob": float(apart.max()),
        "divergence": max(0.0, float(divergence)),  # never below but by rounding
        "likeliest": float(same.double().mean()),
    }
