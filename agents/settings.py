"""The sections of settings that agents of all kinds have in common."""

from pydantic import Field

from utils.rules import FolderName, Fraction, Layers, Positive, Size, Text
from utils.settings import Section


class MLPSettings(Section):
    """A multi-layer perceptron."""

    layers: Layers
    units: Size


class OptimizerSettings(Section):
    """Of an :class:`agents.nn.optimizer.Optimizer`."""

    lr: Positive
    eps: Positive
    clip: Positive
    wd: Fraction


class AgentSection(Section):
    """``agent``: which one it is."""

    name: FolderName
    target: Text = Field(alias="_target_")
    """Its class, as ``package.module.Class``."""


class AgentSettings(Section):
    """What an agent reads. A class of agents adds its keys, at the root and in the section ``agent``."""

    agent: AgentSection
