"""Dyna-MPC's search (Rajeswar et al. 2023, section 4) in float64, one environment, sequence and step at a time."""

import math

import reference64 as ref
import torch
from planner_kit import GROUPS, A, P, S


class Reference:
    """With the weights of an agent and the noise its planner drew."""

    def __init__(self, agent):
        model, behavior = ref.weights(agent.world_model), agent.main.behavior
        self.planner, self.discount, self.lam = agent.planner, behavior.discount, behavior.lam
        self.rssm, self.head = ref.below(model, "rssm"), ref.below(model, "reward_head")
        self.actor, self.slow = ref.weights(behavior.actor.net), ref.weights(behavior.slow_critic.net)

    def step(self, stoch, deter, action, drawn):
        deter = ref.rssm_deter(self.rssm, stoch, deter, action[None])
        probs = ref.softmax(ref.rssm_prior(self.rssm, deter, GROUPS))
        return ref.one_hot(probs, drawn[None]), deter

    def objective(self, start, skill, actions, drawn):
        """J of one sequence (P, A): r_1 .. r_{P-1} and v_2 .. v_P, a mixture of n-step returns from f_1 on."""
        stoch, deter = start
        r, v = {}, {}
        for t in range(1, P + 1):
            stoch, deter = self.step(stoch, deter, actions[t - 1], drawn[t - 1])
            feat = ref.feature(stoch, deter)
            r[t] = ref.mlp(self.head, feat).item()
            value = ref.mlp(self.slow, torch.cat([feat, skill[None]], -1)).item()
            v[t] = value if self.planner.use_value else 0.0
        total = 0.0
        for n in range(1, P):
            rewards = sum(self.discount**k * r[1 + k] for k in range(n))
            n_step = rewards + self.discount**n * v[1 + n]
            share = (1 - self.lam) * self.lam ** (n - 1) if n < P - 1 else self.lam ** (n - 1)
            total += share * n_step
        return total

    def rollout(self, start, skill, normals, drawn):
        """One sequence (P, A) of the policy's samples."""
        stoch, deter = start
        actions = []
        for t in range(P):
            out = ref.mlp(self.actor, torch.cat([ref.feature(stoch, deter), skill[None]], -1))[0]
            std = 2 * ref.sigmoid(out[A:] / 2) + 0.1
            actions.append((torch.tanh(out[:A]) + std * normals[t]).clamp(-1 + 1e-6, 1 - 1e-6))
            stoch, deter = self.step(stoch, deter, actions[-1], drawn[t])
        return torch.stack(actions)

    def search(self, i, inputs, draws, explore):
        """Environment i: action, mean, objective by iteration, the unclamped variances."""
        (latent, skill, previous, is_first), planner = inputs, self.planner
        start, skill = (latent.stoch[i : i + 1].double(), latent.deter[i : i + 1].double()), skill[i].double()
        categorical, normals = iter(draws.categorical), iter(draws.normals())
        policies = range(planner.num_policies)
        taken = [(next(normals), next(categorical)) for _ in range(P if policies else 0)]
        rows = [i * planner.num_policies + k for k in policies]
        proposals = [self.rollout(start, skill, [x[row] for x, _ in taken], [u[row] for _, u in taken]) for row in rows]

        mean, std = [[[0.0] * A for _ in range(P)], [[2.0] * A for _ in range(P)]]
        if not is_first[i]:
            for t in range(P - 1):
                mean[t] = previous[i, t + 1].double().tolist()
        objectives, variances = [], []
        for iteration in range(planner.iterations):
            eps = draws.candidates[iteration][i]
            centre, spread = torch.tensor(mean).double(), torch.tensor(std).double()
            candidates = [(centre + spread * eps[s]).clamp(-1, 1) for s in range(S)] + proposals
            drawn = [next(categorical) for _ in range(P)]
            count = len(candidates)
            scores = [
                self.objective(start, skill, candidates[c], [u[i * count + c] for u in drawn]) for c in range(count)
            ]
            elites = sorted(range(count), key=lambda c: -scores[c])[: planner.num_elites]
            weight = [math.exp(planner.temperature * (scores[c] - scores[elites[0]])) for c in elites]
            weight = [w / sum(weight) for w in weight]
            for t in range(P):
                for a in range(A):
                    values = [candidates[c][t, a].item() for c in elites]
                    centre = sum(w * x for w, x in zip(weight, values, strict=True))
                    variance = sum(w * (x - centre) ** 2 for w, x in zip(weight, values, strict=True))
                    variances.append(variance)
                    std[t][a] = min(max(math.sqrt(variance), planner.min_std), 2.0)
                    mean[t][a] = planner.momentum * mean[t][a] + (1 - planner.momentum) * centre
            objectives.append(sum(scores[c] for c in elites) / len(elites))
        if not explore:
            return mean[0], mean, objectives, variances
        race = draws.exponential[0][i].double()
        chosen = max(range(len(elites)), key=lambda j: weight[j] / race[j].item())
        first, extra = candidates[elites[chosen]][0], next(normals)[i]
        action = [min(max(first[a].item() + std[0][a] * extra[a].item(), -1.0), 1.0) for a in range(A)]
        return action, mean, objectives, variances
