"""The logs of the scripts: columns that are always there, and the console line."""

from utils.log_layout import Field, LogLayout

_EVAL_COLUMNS = ("episode", "episode_length", "episode_reward", "frame", "step", "total_time")
_EVAL_FIELDS = (
    Field("frame", "F", "int"),
    Field("step", "S", "int"),
    Field("episode", "E", "int"),
    Field("episode_length", "L", "int"),
    Field("episode_reward", "R", "float"),
    Field("total_time", "T", "time"),
)

DREAMER = LogLayout(
    columns={"train": tuple(sorted((*_EVAL_COLUMNS, "buffer_size", "fps"))), "eval": _EVAL_COLUMNS},
    fields={"train": (*_EVAL_FIELDS[:-1], Field("fps", "FPS", "float"), _EVAL_FIELDS[-1]), "eval": _EVAL_FIELDS},
    width=14,
)
"""The published form of mastering-urlb."""

DRQ = LogLayout(
    columns={
        "train": ("step", "episode", "episode_reward", "duration", "frame", "total_time", "fps", "buffer_size"),
        "eval": ("step", "episode", "episode_reward", "frame", "total_time"),
    },
    fields={
        "train": (
            Field("episode", "E", "int"),
            Field("frame", "S", "int"),
            Field("episode_reward", "R", "float"),
            Field("duration", "D", "seconds"),
            Field("batch_reward", "BR", "float"),
            Field("actor_loss", "ALOSS", "float"),
            Field("critic_loss", "CLOSS", "float"),
            Field("alpha_loss", "TLOSS", "float"),
            Field("alpha_value", "TVAL", "float"),
            Field("actor_entropy", "AENT", "float"),
        ),
        "eval": (Field("episode", "E", "int"), Field("frame", "S", "int"), Field("episode_reward", "R", "float")),
    },
    width=5,
)
"""The published form of DrQ, with the times and sizes that every run logs."""

OFFLINE = LogLayout(
    columns={"train": ("step", "frame", "total_time", "fps", "model_loss"), "eval": _EVAL_COLUMNS},
    fields={
        "train": (
            Field("step", "U", "int"),
            Field("model_loss", "ML", "float"),
            Field("fps", "UPS", "float"),
            Field("total_time", "T", "time"),
        ),
        "eval": _EVAL_FIELDS,
    },
    width=5,
    unit="update",
)
"""Of runs that learn from a data set: a row is ``log_every_updates`` updates, and steps and frames are updates."""

_REST_COLUMNS = (
    "Epoch",
    "Skill",
    *(f"{kind}CumulativeReward" for kind in ("Average", "Std", "Max", "Min")),
    *(f"{kind}EpisodeLength" for kind in ("Average", "Std", "Max", "Min")),
    "LossPi",
    "LossValue",
    "LossRND",
    "TotalEnvInteracts",
)

REST = LogLayout(
    columns={"train": (*_REST_COLUMNS, "iteration", "step", "frame", "total_time", "fps"), "eval": _EVAL_COLUMNS},
    fields={
        "train": (
            Field("Epoch", "E", "int"),
            Field("Skill", "Z", "int"),
            Field("iteration", "I", "int"),
            Field("AverageCumulativeReward", "R", "float"),
            Field("AverageEpisodeLength", "L", "float"),
            Field("LossRND", "RND", "float", always=False),
            Field("frame", "F", "int"),
            Field("fps", "FPS", "float"),
            Field("total_time", "T", "time"),
        ),
        "eval": _EVAL_FIELDS,
    },
    width=5,
)
"""The published columns of ReST, with the times that every run logs. A row is an iteration."""
