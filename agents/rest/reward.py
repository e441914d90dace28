"""The reward of ReST (Jiang et al. 2022, equation 10): how far from all other skills a state is."""

import math

import torch
from torch import Tensor


def soft_minimum(errors: Tensor, alpha: float) -> Tensor:
    """r = -log( (1/K) sum_j exp(-alpha e_j) ) over errors (K, ...) of K other skills -> (...), 0 or more.

    With one small error, r is about alpha times it plus log K; equal errors e give alpha e. Taken by log-mean-exp: the
    exponentials themselves are all 0 in float32 from alpha e = 104 on. Nobody to keep away from (K = 0) gives 0.
    """
    if not len(errors):
        return errors.new_zeros(errors.shape[1:])
    reward = math.log(len(errors)) - torch.logsumexp(-alpha * errors, 0)
    return reward.clamp(min=0)  # log K and the sum's own may differ in the last digit
